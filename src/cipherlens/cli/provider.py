"""The provider's commands: train, test, predict. They need torch, imported when a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from cipherlens.cli.console import Json, OptionalKeyFile, PassphraseFile, emit, load_key, progress_bar, say
from cipherlens.data.images import Item, Preprocess, check_shape, pad_to
from cipherlens.data.manifest import Scheme
from cipherlens.data.sealed import SealedDataset
from cipherlens.errors import DataError, KeyFailure, UsageError

if TYPE_CHECKING:
    from cipherlens.train.run import Run

Flag = Annotated[bool, Parameter(negative="")]


def train(
    sealed: Path,
    *,
    out: Path,
    model: str = "preresnet20",
    adapt: Flag = False,
    adapt_block: int | None = None,
    epochs: int = 10,
    rounds: int = 1,
    batch_size: int = 128,
    optimizer: Literal["sgd", "adamw"] = "sgd",
    lr: float | None = None,
    weight_decay: float = 5e-4,
    schedule: Literal["onecycle", "cosine", "constant"] = "onecycle",
    label_smoothing: float = 0.0,
    normalize: Literal["standardize", "imagenet", "none"] = "standardize",
    precision: Literal["auto", "float32", "bf16"] = "auto",
    small_stem: Flag = False,
    pretrained: Flag = False,
    weights: Path | None = None,
    patience: int = 0,
    seed: int = 0,
    threads: int = 0,
    as_json: Json = False,
) -> None:
    """Train a classifier on a sealed data set, without the key. The same command continues an interrupted run.

    Parameters
    ----------
    sealed
        Folder made by encrypt, with a train split (or only one split).
    out
        Run folder.
    model
        preresnet20, preresnet110, or any timm model.
    adapt
        Put the adaptation network in front, with the cipher's block.
    adapt_block
        The same with another block.
    epochs
        Epochs per round.
    rounds
        Multi-round training: each round keeps the adaptation network and starts a fresh backbone.
    lr
        Peak learning rate; 0.1 for sgd and 0.001 for adamw by default.
    small_stem
        ResNets of timm: 3x3 stem without pooling, for 32x32 images.
    pretrained
        Pretrained backbone from timm's hub.
    weights
        Pretrained backbone from a local .safetensors or .pth file.
    patience
        End a round after so many epochs without progress; 0 is never.
    """
    from cipherlens.train.config import TrainConfig
    from cipherlens.train.fit import fit

    dataset = SealedDataset.open(sealed)
    names = list(dataset.splits)
    name = "train" if "train" in names else names[0]
    config = TrainConfig(
        model=model,
        adapt_block=adapt_block or (int(dataset.plan.params.get("block", 4)) if adapt else None),
        small_stem=small_stem,
        pretrained=pretrained,
        weights=None if weights is None else str(weights),
        epochs=epochs,
        rounds=rounds,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        schedule=schedule,
        label_smoothing=label_smoothing,
        seed=seed,
        precision=precision,
        normalize=normalize,
        patience=patience,
        threads=threads,
    )
    test_set = dataset.split("test") if "test" in names and name != "test" else None
    with progress_bar("training") as bar:
        result = fit(
            config,
            dataset.split(name),
            test_set,
            out,
            dataset.plan.public(),
            lambda event: show_progress(event, bar),
        )
    last = result.last.to_json()
    accuracy = last["test_accuracy"] if last["test_accuracy"] is not None else last["train_accuracy"]
    kind = "test" if test_set is not None else "training"
    emit(
        {"out": str(out), "model": model, "cipher": dataset.plan.cipher, "adapt_block": config.adapt_block, **last},
        as_json,
        [f"{out}: {model} on {dataset.plan.cipher} images, {kind} accuracy {accuracy:.2%} after the last epoch"],
    )


def show_progress(event: Any, bar: Any) -> None:
    """Feed a progress bar from training events, and say each finished epoch."""
    per_round = event.epochs * event.steps
    done = (event.position.round - 1) * per_round + (event.position.epoch - 1) * event.steps + event.step
    bar(done, event.rounds * per_round)
    if event.metrics is not None:
        m = event.metrics
        tested = "" if m.test_accuracy is None else f", test accuracy {m.test_accuracy:.2%}"
        say(
            f"round {m.round} epoch {m.epoch}: loss {m.train_loss:.3f}, accuracy {m.train_accuracy:.2%}{tested}, "
            f"{m.images_per_second:.0f} images/s"
        )


def test(
    run: Path,
    sealed: Path,
    *,
    split: str = "test",
    weights: Literal["best", "last"] = "last",
    measure_wrong_key: Flag = False,
    as_json: Json = False,
) -> None:
    """Measure a trained model on a sealed data set.

    Parameters
    ----------
    run
        Run folder made by train.
    sealed
        Folder made by encrypt, with the key the run was trained on.
    weights
        last is honest; best was chosen on the test images themselves.
    measure_wrong_key
        Measure even if the images were sealed with another key or cipher.
    """
    from cipherlens.train.run import evaluate, load_run

    loaded, dataset = load_run(run, weights), SealedDataset.open(sealed)
    trained, given = loaded.provenance.get("key_fingerprint"), dataset.plan.key_fingerprint
    if trained != given and not measure_wrong_key:
        raise KeyFailure(
            f"the run was trained on images sealed with key {trained}, these were sealed with {given}",
            hint="pass --measure-wrong-key to measure what that gives",
        )
    result = evaluate(loaded, dataset.split(split))
    line = f"accuracy {result['accuracy']:.2%} on {result['n']} images of {sealed} ({split})"
    emit({"run": str(run), "sealed": str(sealed), "split": split, "weights": weights, **result}, as_json, [line])


def predict(
    run: Path,
    images: list[Path],
    *,
    key: OptionalKeyFile = None,
    passphrase_file: PassphraseFile = None,
    top: int = 3,
    as_json: Json = False,
) -> None:
    """Classify images: plain ones, encrypted on the spot with the client's key, or ciphertexts in .npy files.

    Parameters
    ----------
    run
        Run folder made by train.
    images
        Image files (with --key), or .npy files with one ciphertext (C, H, W).
    top
        How many classes to name.
    """
    from cipherlens.train.run import load_run
    from cipherlens.train.run import predict as classify

    loaded = load_run(run, "last")
    scheme = Scheme.from_public(loaded.provenance)
    plain = [path for path in images if path.suffix != ".npy"]
    if plain and key is None and scheme.cipher != "identity":
        raise UsageError(
            f"{plain[0]} is a plain image, and the model answers on {scheme.cipher} images",
            hint="give the client's --key, or a ciphertext in a .npy file",
        )
    bound = scheme.bind(load_key(key, passphrase_file)) if key is not None else None
    batch = np.concatenate([_read_image(path, scheme, bound, loaded) for path in images])
    probabilities = classify(loaded, batch)
    order = np.argsort(-probabilities, axis=1)[:, :top]
    answers = {
        str(path): {loaded.classes[i]: round(float(row[i]), 4) for i in ranked}
        for path, row, ranked in zip(images, probabilities, order, strict=True)
    }
    lines = [
        f"{path}: " + ", ".join(f"{name} {share:.1%}" for name, share in found.items())
        for path, found in answers.items()
    ]
    emit({"run": str(run), "predictions": answers}, as_json, lines)


def _read_image(path: Path, scheme: Scheme, bound: Any, run: "Run") -> NDArray[Any]:
    if path.suffix == ".npy":
        try:
            ct = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is not a ciphertext: {error}") from None
        return np.asarray(ct if ct.ndim == 4 else ct[None])
    if not path.is_file():
        raise DataError(f"no image {path}")
    pixels = Preprocess(scheme.size, scheme.pad).apply(Item(str(path), -1, path))
    check_shape(pixels, scheme.plain_shape, str(path))
    padded = pad_to(pixels[None], scheme.padded_shape)
    return padded if bound is None else np.asarray(bound.encrypt(padded))


COMMANDS = (train, test, predict)
