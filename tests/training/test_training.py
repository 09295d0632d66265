"""Training: learns what can be learnt, resumes exactly, and keeps a folder that can be used and checked."""

import itertools
import json
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from safetensors.torch import load_file  # noqa: E402

from cipherlens.errors import CipherlensError, DataError, ShapeError, UsageError  # noqa: E402
from cipherlens.models import backbones  # noqa: E402
from cipherlens.training import (  # noqa: E402
    Progress,
    TrainConfig,
    evaluate,
    fit,
    load_run,
    predict,
)
from cipherlens.training.engine.batches import ImageBatches, split_batches  # noqa: E402
from cipherlens.training.engine.metrics import EpochMetrics, Position  # noqa: E402
from cipherlens.training.engine.normalization import Normalization, create_normalization  # noqa: E402
from cipherlens.training.engine.optimizer import get_learning_rate  # noqa: E402
from cipherlens.training.engine.rounds import get_best, get_next  # noqa: E402

CLASSES = ("corner", "centre", "edge")


@dataclass(frozen=True)
class Blobs:
    """An image set in memory."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] = CLASSES

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.images.shape[1:]

    @property
    def dtype(self) -> str:
        return str(self.images.dtype)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self.images[indices]


def make_blobs(count: int, seed: int, shuffled: bool = False) -> Blobs:
    """16 x 16 noise with a bright patch whose place is the class; ``shuffled`` labels say nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = rng.integers(0, 100, (count, 3, 16, 16), dtype=np.uint8)
    for label, (row, column) in enumerate(((1, 1), (6, 6), (11, 6))):
        images[labels == label, :, row : row + 4, column : column + 4] += 120
    return Blobs(images, rng.permutation(labels) if shuffled else labels)


class TinyNet(torch.nn.Sequential):
    """Fast, with the parts that make resuming hard: batch norm statistics and dropout."""

    def __init__(self, num_classes: int, in_chans: int = 3) -> None:
        super().__init__(
            torch.nn.Conv2d(in_chans, 12, 3, 2, 1),
            torch.nn.BatchNorm2d(12),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Dropout(0.2),
            torch.nn.Linear(12 * 64, num_classes),
        )


@pytest.fixture(autouse=True)
def tiny_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backbones.OWN_MODELS, "tiny", TinyNet)


TRAIN, TEST = make_blobs(150, 1), make_blobs(60, 2)
CONFIG = TrainConfig("tiny", epochs=3, batch_size=32, lr=0.05, seed=5, precision="float32", threads=1)
ADAPTED = replace(CONFIG, adapt_block=4, rounds=2, epochs=2, lr=0.02)


class Interrupt(Exception):
    """What a kill looks like from inside."""


def interrupt_at(stop: Callable[[Progress], bool]) -> Callable[[Progress], None]:
    def watch(event: Progress) -> None:
        if stop(event):
            raise Interrupt

    return watch


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the timings."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in ("seconds", "images_per_second")} for line in lines]


def assert_same_tensors(first: Path, second: Path) -> None:
    one, two = load_file(first), load_file(second)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one), f"{first.name} differs"


def assert_same_run(first: Path, second: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        assert_same_tensors(first / name, second / name)
    optimizers = [next((folder / "checkpoint").glob("*.optimizer.safetensors")) for folder in (first, second)]
    assert_same_tensors(*optimizers)
    assert read_metrics(first) == read_metrics(second)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_learns_separable_classes_and_stays_near_chance_on_shuffled_labels(tmp_path: Path, precision: str) -> None:
    config = replace(CONFIG, epochs=5, precision=precision)
    assert fit(config, make_blobs(300, 1), TEST, tmp_path / "blobs").last.test_accuracy > 0.9
    noise = fit(config, make_blobs(300, 1, shuffled=True), make_blobs(300, 2, shuffled=True), tmp_path / "noise")
    assert 0.2 < noise.last.test_accuracy < 0.47  # chance 1/3, five standard errors


def test_adaptation_network_in_front_learns_too(tmp_path: Path) -> None:
    result = fit(replace(ADAPTED, epochs=4), make_blobs(300, 1), TEST, tmp_path / "run")
    assert result.last.test_accuracy > 0.9


def test_run_folder_holds_what_it_should(tmp_path: Path) -> None:
    events: list[Progress] = []
    result = fit(CONFIG, TRAIN, TEST, tmp_path / "run", {"cipher": "hill|4", "key": "ab12"}, events.append)
    names = {path.relative_to(result.out).as_posix() for path in result.out.rglob("*") if path.is_file()}
    assert names == {
        "config.json",
        "metrics.jsonl",
        "last.safetensors",
        "best.safetensors",
        "curves.png",
        "MODEL_CARD.md",
        "checkpoint/state.json",
        "checkpoint/round1-epoch3.weights.safetensors",
        "checkpoint/round1-epoch3.optimizer.safetensors",
    }
    record = json.loads((result.out / "config.json").read_text())
    assert TrainConfig.from_json(record["config"]) == CONFIG
    assert record["data"]["classes"] == list(CLASSES) and record["data"]["shape"] == [3, 16, 16]
    assert record["provenance"] == {"cipher": "hill|4", "key": "ab12"}
    np.testing.assert_allclose(record["normalization"]["mean"], (TRAIN.images / 255).mean((0, 2, 3)))
    np.testing.assert_allclose(record["normalization"]["std"], (TRAIN.images / 255).std((0, 2, 3)))
    assert [line["epoch"] for line in read_metrics(result.out)] == [1, 2, 3]
    assert set(load_file(result.out / "last.safetensors")) == set(TinyNet(3).state_dict())
    assert (result.out / "curves.png").read_bytes().startswith(b"\x89PNG")
    card = (result.out / "MODEL_CARD.md").read_text()
    for part in ("hill\\|4", "ab12", f"{result.last.test_accuracy:.2%}", "obfuscation", "| seed | 5 |"):
        assert part in card
    assert [event.step for event in events if event.position.epoch == 1] == [1, 2, 3, 4, 5, 5]
    assert events[-1].metrics == result.last


def test_nothing_in_a_run_folder_is_a_pickle(tmp_path: Path) -> None:
    fit(ADAPTED, TRAIN, TEST, tmp_path / "run")
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not content.startswith((b"PK", b"\x80")), path
            with pytest.raises(ValueError):
                list(pickletools.genops(content))


STOPS = {
    "mid first epoch": lambda event: event.step == 2,
    "mid second epoch": lambda event: event.position.epoch == 2 and event.step == 2,
    "after an epoch": lambda event: event.metrics is not None,
    "second round": lambda event: event.position == Position(2, 1) and event.step == 3,
    "between rounds": lambda event: event.metrics is not None and event.position == Position(1, 2),
    "very end": lambda event: event.metrics is not None and event.position == Position(2, 2),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.OWN_MODELS, "tiny", TinyNet)
        folder = tmp_path_factory.mktemp("whole")
        for optimizer in ("sgd", "adamw"):
            fit(make_resume_config(optimizer), TRAIN, TEST, folder / optimizer)
    return {optimizer: folder / optimizer for optimizer in ("sgd", "adamw")}


def make_resume_config(optimizer: str) -> TrainConfig:
    return replace(ADAPTED, optimizer=optimizer, lr=None if optimizer == "adamw" else ADAPTED.lr)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS.keys())
def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, uninterrupted: dict[str, Path], stop: Callable[[Progress], bool], optimizer: str
) -> None:
    config = make_resume_config(optimizer)
    with pytest.raises(Interrupt):
        fit(config, TRAIN, TEST, tmp_path / "run", progress=interrupt_at(stop))
    torch.rand(7)  # other work in the meantime must not matter
    fit(config, TRAIN, TEST, tmp_path / "run")
    assert_same_run(uninterrupted[optimizer], tmp_path / "run")


def test_interrupting_at_every_epoch_still_ends_the_same(tmp_path: Path, uninterrupted: dict[str, Path]) -> None:
    config, out = make_resume_config("sgd"), tmp_path / "run"
    for _ in range(4):
        with pytest.raises(Interrupt):
            fit(config, TRAIN, TEST, out, progress=interrupt_at(lambda event: event.metrics is not None))
    leftovers = (out / ".last.safetensors.7.tmp", out / "checkpoint/.state.json.7.tmp")
    for path in leftovers:
        path.write_bytes(b"half")
    (out / "metrics.jsonl").write_text('{"round": 1')  # torn: the checkpoint knows better
    assert fit(config, TRAIN, TEST, out).trained_epochs == 0
    assert not any(path.exists() for path in leftovers)
    assert_same_run(uninterrupted["sgd"], out)
    assert (out / "MODEL_CARD.md").exists() and (out / "curves.png").exists()


@pytest.mark.parametrize("renamed", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kill", [1, 2, 6, *range(8, 14)])
def test_a_kill_at_any_write_leaves_a_folder_to_continue_from(
    tmp_path: Path, uninterrupted: dict[str, Path], monkeypatch: pytest.MonkeyPatch, kill: int, renamed: bool
) -> None:
    """Die just before or after a file gets its name: the 1st is config.json, 2 to 7 epoch 1, 8 to 13 epoch 2."""
    rename, count = Path.replace, itertools.count(1)

    def rename_or_die(source: Path, target: Path) -> None:
        dies = next(count) == kill
        if renamed or not dies:
            rename(source, target)
        if dies:
            raise Interrupt

    monkeypatch.setattr(Path, "replace", rename_or_die)
    config, out = make_resume_config("sgd"), tmp_path / "run"
    with pytest.raises(Interrupt):
        fit(config, TRAIN, TEST, out)
    fit(config, TRAIN, TEST, out)
    assert_same_run(uninterrupted["sgd"], out)


def test_a_finished_run_returns_at_once(tmp_path: Path) -> None:
    first = fit(CONFIG, TRAIN, TEST, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    events: list[Progress] = []
    again = fit(replace(CONFIG, threads=2), TRAIN, TEST, tmp_path / "run", progress=events.append)
    assert (again.history, again.trained_epochs, events) == (first.history, 0, [])
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_seed_decides_the_weights(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit(replace(config, seed=seed), TRAIN, None, tmp_path / name)
    assert_same_tensors(tmp_path / "a/last.safetensors", tmp_path / "b/last.safetensors")
    with pytest.raises(AssertionError, match="differs"):
        assert_same_tensors(tmp_path / "a/last.safetensors", tmp_path / "c/last.safetensors")


def test_training_leaves_the_callers_random_state_and_threads(tmp_path: Path) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    fit(replace(CONFIG, epochs=1, threads=1 if threads > 1 else 2), TRAIN, TEST, tmp_path / "run")
    load_run(tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_a_round_carries_the_adaptation_network_and_renews_the_backbone(tmp_path: Path) -> None:
    """Seen at a learning rate that moves nothing: the second round starts with what the first ended with."""
    ends: dict[int, dict[str, torch.Tensor]] = {}

    def keep(event: Progress) -> None:
        if event.metrics is not None:
            ends[event.position.round] = load_file(tmp_path / "run/last.safetensors")

    config = replace(ADAPTED, epochs=1, lr=1e-30, weight_decay=0.0)
    fit(config, TRAIN, None, tmp_path / "run", progress=keep)
    assert torch.equal(ends[1]["adapt.conv.weight"], ends[2]["adapt.conv.weight"])
    assert torch.equal(ends[1]["adapt.deconv.bias"], ends[2]["adapt.deconv.bias"])
    assert not torch.equal(ends[1]["backbone.0.weight"], ends[2]["backbone.0.weight"])


def test_another_run_in_the_folder_is_named(tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(replace(CONFIG, epochs=1), TRAIN, TEST, out, {"key": "one"})
    with pytest.raises(UsageError) as caught:
        fit(replace(CONFIG, epochs=2, lr=0.5), TRAIN, TEST, out, {"key": "one"})
    message = str(caught.value)
    assert "epochs (1 there, 2 now)" in message and "lr (0.05 there, 0.5 now)" in message
    assert "seed" not in message
    with pytest.raises(UsageError, match=r"provenance\.key"):
        fit(replace(CONFIG, epochs=1), TRAIN, TEST, out, {"key": "two"})
    with pytest.raises(UsageError, match=r"data\.labels_sha256"):
        fit(replace(CONFIG, epochs=1), make_blobs(150, 9), TEST, out, {"key": "one"})


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        fit(CONFIG, TRAIN, TEST, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_misspelt_model_does_not_claim_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown model"):
        fit(replace(CONFIG, model="tinny_net"), TRAIN, TEST, tmp_path / "run")
    assert fit(replace(CONFIG, epochs=1), TRAIN, TEST, tmp_path / "run").trained_epochs == 1


def test_divergence_is_an_error_and_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CipherlensError, match="diverged"):
        fit(replace(CONFIG, lr=1e30), TRAIN, TEST, tmp_path / "run")
    assert not (tmp_path / "run/checkpoint").exists()


def make_metrics(round: int, epoch: int, accuracy: float | None) -> EpochMetrics:
    return EpochMetrics(round, epoch, 1.0, 0.5, accuracy, accuracy, 0.1, 1.0, 1.0)


def test_patience_ends_a_round_and_starts_the_next() -> None:
    config = replace(ADAPTED, epochs=9, patience=2)
    history = [make_metrics(1, epoch, score) for epoch, score in enumerate((0.4, 0.6, 0.5), start=1)]
    assert get_next(config, history) == Position(1, 4)
    assert get_next(config, [*history, make_metrics(1, 4, 0.61)]) == Position(1, 5)
    history.append(make_metrics(1, 4, 0.6))  # equal is not better
    assert get_next(config, history) == Position(2, 1)
    assert get_next(replace(config, patience=0), history) == Position(1, 5)
    history += [make_metrics(2, epoch, 0.1) for epoch in (1, 2)]
    assert get_next(config, history) == Position(2, 3)  # the first round's best does not count against it
    assert get_next(config, [*history, make_metrics(2, 3, 0.1)]) is None
    assert get_best(history) == make_metrics(1, 2, 0.6)


def test_best_weights_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    kept: dict[int, dict[str, torch.Tensor]] = {}

    def keep(event: Progress) -> None:
        if event.metrics is not None:
            kept[event.position.epoch] = load_file(tmp_path / "run/last.safetensors")

    # Shuffled test labels: accuracy wanders, so that the best epoch is not the last one.
    test_set = make_blobs(60, 4, shuffled=True)
    result = fit(replace(CONFIG, epochs=5), TRAIN, test_set, tmp_path / "run", progress=keep)
    assert result.best.epoch != result.last.epoch
    best = load_file(tmp_path / "run/best.safetensors")
    assert all(torch.equal(best[name], kept[result.best.epoch][name]) for name in best)
    accuracies = {
        name: evaluate(load_run(tmp_path / "run", name), test_set)["accuracy"] for name in ("best", "last")
    }
    assert accuracies == {"best": result.best.test_accuracy, "last": result.last.test_accuracy}


def test_predict_and_evaluate(tmp_path: Path) -> None:
    test_set = make_blobs(60, 2, shuffled=True)  # hard, as a loss of zero would agree with anything
    result = fit(CONFIG, TRAIN, test_set, tmp_path / "run")
    run = load_run(tmp_path / "run", "last")
    probabilities = predict(run, test_set.images, batch_size=7)
    assert probabilities.shape == (60, 3) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(predict(run, (test_set.images / 255).astype(np.float32)), probabilities, atol=1e-5)
    assert predict(run, test_set.images[:0]).shape == (0, 3)

    found = evaluate(run, test_set)
    hits = probabilities.argmax(1) == test_set.labels
    assert found["n"] == 60 and found["accuracy"] == hits.mean() == result.last.test_accuracy
    assert found["loss"] == pytest.approx(-np.log(probabilities[np.arange(60), test_set.labels]).mean(), rel=1e-4)
    assert found["per_class"] == {name: hits[test_set.labels == k].mean() for k, name in enumerate(CLASSES)}
    assert found["loss"] == pytest.approx(result.last.test_loss, rel=1e-5)
    few = Blobs(test_set.images[test_set.labels < 2], test_set.labels[test_set.labels < 2])
    assert evaluate(run, few)["per_class"]["edge"] is None


def test_images_of_another_kind_are_refused(tmp_path: Path) -> None:
    fit(replace(CONFIG, epochs=1), TRAIN, TEST, tmp_path / "run")
    run = load_run(tmp_path / "run")
    for shape in ((3, 16, 16), (2, 3, 8, 16), (2, 1, 16, 16)):
        with pytest.raises(ShapeError, match=r"\(N, 3, 16, 16\)"):
            predict(run, np.zeros(shape, np.uint8))
    with pytest.raises(ShapeError, match="int64"):
        predict(run, np.zeros((1, 3, 16, 16), np.int64))
    with pytest.raises(ShapeError, match=r"\(3, 8, 16\)"):
        evaluate(run, Blobs(TEST.images[:, :, :8], TEST.labels))
    with pytest.raises(DataError, match="classes"):
        evaluate(run, Blobs(TEST.images, TEST.labels, ("x", "y", "z")))


def test_contradictory_sets_are_refused(tmp_path: Path) -> None:
    bad = {
        "no images": Blobs(TRAIN.images[:0], TRAIN.labels[:0]),
        "labels outside": Blobs(TRAIN.images, TRAIN.labels + 1),
        "labels of shape": Blobs(TRAIN.images, TRAIN.labels[:-1]),
        "dtype int16": Blobs(TRAIN.images.astype(np.int16), TRAIN.labels),
    }
    for message, images in bad.items():
        with pytest.raises(DataError, match=message):
            fit(CONFIG, images, TEST, tmp_path / "run")
    with pytest.raises(UsageError, match="patience"):
        fit(replace(CONFIG, patience=1), TRAIN, None, tmp_path / "run")
    with pytest.raises(UsageError, match="provenance"):
        fit(CONFIG, TRAIN, None, tmp_path / "run", {"key": b"bytes"})
    assert not (tmp_path / "run").exists()


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "best.safetensors missing": lambda out: (out / "best.safetensors").unlink(),
    "best.safetensors cut": lambda out: damage_cut(out / "best.safetensors"),
    "config.json missing": lambda out: (out / "config.json").unlink(),
    "config.json cut": lambda out: damage_cut(out / "config.json"),
    "config.json of another format": lambda out: (out / "config.json").write_text('{"format": "x"}'),
    "config.json without data": lambda out: edit_record(out, lambda record: record.pop("data")),
    "config.json with another model": lambda out: edit_record(
        out, lambda record: record["config"].update(model="preresnet20")
    ),
}


def edit_record(out: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((out / "config.json").read_text())
    change(record)
    (out / "config.json").write_text(json.dumps(record))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_folder_is_an_error_of_its_own(tmp_path: Path, damage: str) -> None:
    fit(replace(CONFIG, epochs=1), TRAIN, TEST, tmp_path / "run")
    DAMAGES[damage](tmp_path / "run")
    with pytest.raises(DataError):
        load_run(tmp_path / "run")


def test_a_damaged_checkpoint_is_an_error_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupt):
        fit(CONFIG, TRAIN, TEST, out, progress=interrupt_at(lambda event: event.metrics is not None))
    damage_cut(next((out / "checkpoint").glob("*.weights.safetensors")))
    with pytest.raises(DataError, match="damaged"):
        fit(CONFIG, TRAIN, TEST, out)


def test_reading_ahead_gives_the_same_batches_as_memory() -> None:
    device = torch.device("cpu")
    plan = split_batches(np.random.default_rng(0).permutation(len(TRAIN)), 32)
    resident, streamed = (ImageBatches(TRAIN, device, budget) for budget in (10**9, 0))
    assert resident.resident is not None and streamed.resident is None
    count = 0
    for (images, labels), (same_images, same_labels) in zip(
        resident.iterate(plan), streamed.iterate(plan), strict=True
    ):
        assert torch.equal(images, same_images) and torch.equal(labels, same_labels)
        np.testing.assert_array_equal(images.numpy(), TRAIN.images[plan[count]])
        np.testing.assert_array_equal(labels.numpy(), TRAIN.labels[plan[count]])
        count += 1
    assert count == len(plan) == 5


def test_a_failing_read_reaches_the_caller() -> None:
    class Broken(Blobs):
        def read(self, indices: np.ndarray) -> np.ndarray:
            return super().read(indices)[:, :, :8]

    batches = ImageBatches(Broken(TRAIN.images, TRAIN.labels), torch.device("cpu"), budget=0)
    with pytest.raises(ShapeError, match="announced"):
        list(batches.iterate([np.arange(4)]))


@pytest.mark.parametrize(("count", "size"), [(1, 4), (8, 4), (9, 4), (129, 128)])
def test_batches_hold_every_image_once_and_none_is_tiny(count: int, size: int) -> None:
    batches = split_batches(np.arange(count), size)
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(count))
    lengths = [len(batch) for batch in batches]
    assert max(lengths) <= size and max(lengths) - min(lengths) <= 1


def test_normalization_of_bytes_and_floats_agrees_and_is_measured_right() -> None:
    floats = Blobs((TRAIN.images / 255).astype(np.float32), TRAIN.labels)
    measured = create_normalization("standardize", floats)
    normal = measured.apply(torch.from_numpy(TRAIN.images))
    torch.testing.assert_close(normal, measured.apply(torch.from_numpy(floats.images)), atol=1e-5, rtol=0)
    assert normal.mean((0, 2, 3)).abs().max() < 1e-4
    assert (normal.std((0, 2, 3)) - 1).abs().max() < 1e-4
    flat = create_normalization("standardize", Blobs(np.full((4, 3, 2, 2), 7, np.uint8), np.zeros(4, np.int64)))
    assert torch.isfinite(flat.apply(torch.zeros(1, 3, 2, 2))).all()
    imagenet = create_normalization("imagenet", TRAIN).apply(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8))
    torch.testing.assert_close(imagenet.flatten(), torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
    same = create_normalization("none", floats).apply(torch.from_numpy(floats.images))
    assert torch.equal(same, torch.from_numpy(floats.images))
    with pytest.raises(UsageError, match="3 channels"):
        create_normalization("imagenet", Blobs(TRAIN.images[:, :1], TRAIN.labels))
    with pytest.raises(DataError, match="finite"):
        create_normalization("standardize", Blobs(np.full((4, 3, 2, 2), np.nan, np.float32), TRAIN.labels[:4]))
    assert Normalization.from_json(json.loads(json.dumps(measured.to_json()))) == measured


def test_onecycle_matches_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    # torch reaches peak and minimum one step before the end of a phase, cipherlens at it: hence the odd numbers.
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.4, total_steps=101, pct_start=31 / 101, cycle_momentum=False, final_div_factor=400
    )
    config = replace(CONFIG, lr=0.4)
    for step in range(100):
        assert get_learning_rate(config, step, 100) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        scheduler.step()


def test_schedules_have_their_shape() -> None:
    rates = {
        kind: np.array(
            [get_learning_rate(replace(CONFIG, schedule=kind, lr=0.4), step, 100) for step in range(100)]
        )
        for kind in ("onecycle", "cosine", "constant")
    }
    assert rates["onecycle"][0] == pytest.approx(0.4 / 25) and rates["onecycle"].argmax() == 30
    assert rates["onecycle"].max() == pytest.approx(0.4) and rates["onecycle"][-1] < 0.4 / 500
    assert (
        rates["cosine"][0] == 0.4
        and rates["cosine"][50] == pytest.approx(0.2)
        and (np.diff(rates["cosine"]) < 0).all()
    )
    assert (rates["constant"] == 0.4).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adagrad"}, "unknown optimizer 'adagrad'"),
        ({"schedule": "step"}, "unknown schedule"),
        ({"precision": "fp16"}, "unknown precision"),
        ({"normalize": "minmax"}, "unknown normalize"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"lr": float("nan")}, "lr must be positive"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"adapt_block": 0}, "adapt_block is between 1 and 32"),
        ({"rounds": 2}, "adaptation network"),
        ({"epochs": "5"}, "epochs must be int"),
        ({"epochs": True}, "epochs must be int"),
        ({"small_stem": 1}, "small_stem must be bool"),
    ],
)
def test_config_refuses_what_cannot_work(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(CONFIG, **change)


def test_config_round_trip_and_unknown_field() -> None:
    config = replace(ADAPTED, weights="file.safetensors", lr=1)
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert TrainConfig.from_json({"model": "tiny"}) == TrainConfig("tiny")
    with pytest.raises(UsageError, match="learning_rate"):
        TrainConfig.from_json({"model": "tiny", "learning_rate": 0.1})
    with pytest.raises(UsageError, match="names no model"):
        TrainConfig.from_json({"epochs": 3})
