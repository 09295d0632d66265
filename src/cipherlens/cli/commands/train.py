"""``cipherlens train``. It needs torch, imported when the command runs."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from cipherlens.ciphers import BoundCipher
from cipherlens.cli.commands.adapt import choose_start, find_maps, say_can_decrypt
from cipherlens.cli.console import (
    Flag,
    Json,
    OptionalKeyFile,
    OptionalWhole,
    PassphraseFile,
    Whole,
    emit,
    load_key,
    progress_bar,
    show_progress,
)
from cipherlens.cli.photos import TEST, Material, measure_training, read_photos, say_if_few, say_remarks
from cipherlens.cli.runs import open_sealed
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.manifest import PLAIN
from cipherlens.data.sources.augmented import TRAIN
from cipherlens.errors import UsageError
from cipherlens.keys import Key

if TYPE_CHECKING:
    from cipherlens.training.config import TrainConfig


def train(
    sealed: list[Path],
    *,
    out: Path,
    plain: Flag = False,
    size: OptionalWhole = None,
    hold_out: OptionalWhole = None,
    model: str = "preresnet20",
    adapt: Flag = False,
    adapt_block: OptionalWhole = None,
    epochs: Whole = 10,
    rounds: Whole = 1,
    batch_size: OptionalWhole = None,
    optimizer: Literal["sgd", "adamw"] = "sgd",
    lr: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    bias_lr_scale: float | None = None,
    schedule: Literal["onecycle", "triangular", "cosine", "constant"] | None = None,
    label_smoothing: float | None = None,
    lookahead: bool | None = None,
    flip: bool | None = None,
    shift: OptionalWhole = None,
    views: Literal[1, 2, 6] | None = None,
    normalize: Literal["standardize", "imagenet", "none"] = "standardize",
    precision: Literal["auto", "float32", "bf16"] = "auto",
    small_stem: Flag = False,
    pretrained: Flag = False,
    weights: Path | None = None,
    patience: Whole = 0,
    warm_up: Whole = 0,
    start: Literal["random", "whitened", "ciphertexts", "inverse"] | None = None,
    public: str | None = None,
    front_end: Annotated[Path | None, Parameter(name=("--front-end", "--inverse"))] = None,
    adapt_lr: float | None = None,
    legacy_padding: Flag = False,
    adaptation: Literal["er", "le", "ele", "pe"] = "er",
    seed: Whole = 0,
    threads: Whole = 0,
    key: OptionalKeyFile = None,
    passphrase_file: PassphraseFile = None,
    inner: Literal["shuffled", "plain"] | None = None,
    as_json: Json = False,
) -> None:
    """Train a model on a sealed data set, without the key. The same command continues an interrupted run.

    With --key, given by the client's consent, the model is locked: on pixel-permutation images it learns what the
    plain model learns on plain ones. Whoever runs this command can read the key.

    Parameters
    ----------
    sealed
        Folder made by encrypt, with a train split (or only one split). Several: images of the same classes under
        different keys, or schemes; each key gets an adaptation network of its own, all share the model.
    out
        Run folder.
    plain
        Train on plain photos, for lock and fold: SEALED is one source, as encrypt takes it.
    size
        With --plain: resize the shorter side to this and cut out the centre square.
    hold_out
        With --plain: as of encrypt.
    model
        preresnet20, preresnet110, vgg16_cifar, or any timm model; unet, unet-small for data with masks. speednet
        learns much in few epochs on a CPU, and comes with settings of its own for what you leave away here.
    adapt
        Put the adaptation network in front, with the cipher's block.
    adapt_block
        The same with another block.
    epochs
        Epochs per round.
    rounds
        Multi-round training: each round keeps the adaptation network and starts a fresh backbone.
    batch_size
        Images per step; 128 by default.
    lr
        Peak learning rate; 0.1 for sgd and 0.001 for adamw by default.
    momentum
        Nesterov momentum of sgd; 0.9 by default.
    weight_decay
        0.0005 by default.
    bias_lr_scale
        Factor of the learning rate of BatchNorm's biases; 1 by default.
    schedule
        How the learning rate moves; onecycle by default.
    label_smoothing
        Probability that the labels give to the other classes; 0 by default.
    lookahead
        Train slow weights that follow those of the optimizer.
    flip
        Show each image mirrored in every second epoch. Of pictures only: plain images, or those read by a map.
    shift
        Shift each image by up to so many pixels, of pictures only.
    views
        Test on so many views of each picture: 2 are it and its mirror image, 6 these shifted by a pixel too.
    small_stem
        For 32x32 images: ResNets and DenseNets with a 3x3 stem and no pooling, ConvNeXts with 2x2 patches.
    pretrained
        Pretrained backbone from timm's hub.
    weights
        Pretrained backbone from a local .safetensors or .pth file.
    patience
        End a round after so many epochs without progress; 0 is never.
    warm_up
        Train the adaptation network and the classifier alone for so many epochs of each round; with --epochs or
        more the backbone is never trained.
    start
        Where the adaptation network starts: random numbers; the map that whitens ciphertext blocks, behind which a
        rotation is learned; the map that an attack finds from the training ciphertexts (the default where there is
        one); or a map in a file. From the last two on, the run can decrypt.
    public
        With --start ciphertexts: a source of photos like the encrypted ones, so that the attack knows such photos.
    front_end
        With --start inverse: the map, from attack --save-map, or from invert (the upper bound).
    adapt_lr
        Peak learning rate of the adaptation network; 0 leaves it as it starts, the default where it starts from a
        map. From random numbers it is that of the model.
    adaptation
        With --adapt: the adaptation network of ER-CNN, LE, ELE or PE.
    legacy_padding
        Put the adaptation network's windows off the cipher's grid, as the report's public code does.
    inner
        With --key: whether feature maps inside the model are shuffled too (the default), or only the input.
    """
    from cipherlens.training.config import READING, TrainConfig
    from cipherlens.training.fit import fit
    from cipherlens.training.recipes import choose_norm_images, recommend

    if inner is not None and key is None:
        raise UsageError("--inner is for locked models", hint="give the client's --key too")
    network: dict[str, Any] = {
        "adapt_block": adapt_block,
        "adaptation": adaptation,
        "legacy_padding": legacy_padding,
    }
    if adapt and adapt_block is None:
        network["adapt_block"] = 0
    datasets: list[SealedDataset] = []
    name, bound = TRAIN, None
    if plain:
        if key is not None or start is not None or network["adapt_block"] is not None:
            raise UsageError("plain photos need no key and no adaptation network", hint="leave --plain away")
        beginning = network | {"start": "random"}
    else:
        if size is not None or hold_out is not None:
            raise UsageError("--size and --hold-out are for --plain", hint="give them to encrypt")
        secret = None if key is None else load_key(key, passphrase_file)
        datasets = [open_sealed(path, secret) for path in sealed]
        names = list(datasets[0].splits)
        name = TRAIN if TRAIN in names else names[0]
        bound = None if secret is None else _bind_to_lock(datasets[0], secret)
        beginning = choose_start(datasets, name, start, front_end, network, bound is not None)
    given = {
        "batch_size": batch_size,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "bias_lr_scale": bias_lr_scale,
        "schedule": schedule,
        "label_smoothing": label_smoothing,
        "lookahead": lookahead,
        "flip": flip,
        "shift": shift,
        "views": views,
    }
    seen = plain or datasets[0].spec.cipher == PLAIN or beginning["start"] in READING
    asked = {field: value for field, value in given.items() if value is not None}
    config = TrainConfig(
        model=model,
        small_stem=small_stem,
        pretrained=pretrained,
        weights=None if weights is None else str(weights),
        epochs=epochs,
        rounds=rounds,
        optimizer=optimizer,
        seed=seed,
        precision=precision,
        normalize=normalize,
        patience=patience,
        threads=threads,
        warm_up=warm_up,
        public=public,
        adapt_lr=adapt_lr,
        lock=None if bound is None else inner or "shuffled",
        **beginning,
        **((recommend(model, seen and bound is None) if optimizer == "sgd" else {}) | asked),
    )
    material = read_photos(sealed, size, hold_out) if plain else _collect(datasets, name, config)
    say_if_few(material)
    norm_images = choose_norm_images(len(material.train_set), config.batch_size, epochs)
    config = replace(config, norm_images=norm_images)
    if config.can_decrypt:
        say_can_decrypt(out)
    with progress_bar("training") as bar:
        result = fit(
            config,
            material.train_set,
            material.test_set,
            out,
            material.provenance,
            lambda event: show_progress(event, bar),
            bound,
            lambda: find_maps(datasets, name, public, seed),
            material.owners,
        )
    say_remarks(getattr(material.train_set, "remarks", {}))
    last = result.last.to_json()
    learned = measure_training(out, material, bound)
    accuracy = next(x for x in (last["test_accuracy"], learned, last["train_accuracy"]) if x is not None)
    kind, cipher = "test" if material.test_set is not None else "training", material.provenance["cipher"]
    emit(
        {"out": str(out), "model": model, "cipher": cipher, "adapt_block": config.adapt_block, **last}
        | {"train_accuracy_afterwards": learned},
        as_json,
        [
            f"{out}: {model} on {cipher} images, {kind} accuracy {accuracy:.2%} after the last epoch",
            *([] if learned is None else [f"accuracy on training images, as the model is used: {learned:.2%}"]),
        ],
    )


def _collect(datasets: list[SealedDataset], split: str, config: "TrainConfig") -> Material:
    """The sets of one owner, or of several; each of these needs an adaptation network of its own."""
    dataset = datasets[0]
    provenance = dataset.spec.to_json()
    if len(datasets) == 1:
        tested = dataset.split(TEST) if TEST in dataset.splits and split != TEST else None
        return Material(dataset.split(split), tested, provenance)
    from cipherlens.api.joint import join

    if config.adapt_block is None or config.lock is not None or config.inverse is not None:
        raise UsageError(
            "several data sets share a model only through adaptation networks, one for each key",
            hint="give --adapt, and neither --key nor --front-end",
        )
    train_set, test_set, owners = join(datasets, split, config.normalize)
    if config.start == "random" and any(owner.adaptation == "positions" for owner in owners):
        raise UsageError(
            "a pixel permutation cannot be learned from random numbers", hint="use --start ciphertexts"
        )
    return Material(train_set, test_set, provenance, owners)


def _bind_to_lock(dataset: SealedDataset, key: Key) -> BoundCipher:
    if dataset.spec.cipher != "pixel-permutation":
        raise UsageError(
            f"a model is locked to pixel-permutation images, these are {dataset.spec.cipher}",
            hint="train without --key, or encrypt with --cipher pixel-permutation",
        )
    return dataset.spec.bind(key)


COMMANDS = (train,)
