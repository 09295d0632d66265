"""Figures of a training reach callbacks and trackers, once for each epoch, and no path or key does."""

from pathlib import Path
from typing import Any

import pytest

import cipherlens as cl
from cipherlens.training.engine.metrics import Progress

KEY = cl.Key(bytes(range(32)))
CONFIG = cl.TrainConfig(model="preresnet20", epochs=2, threads=1, precision="float32")


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    cl.seal("synthetic:tiny?n=20&test=10&size=16", tmp_path / "set", cl.create_cipher("hill", block=4), KEY)
    return tmp_path / "set"


def test_callbacks_hear_of_every_epoch(sealed: Path, tmp_path: Path) -> None:
    heard: dict[str, list[Progress]] = {"first": [], "second": []}
    calls = [heard["first"].append, heard["second"].append]
    result = cl.train(sealed, CONFIG, out=tmp_path / "run", callbacks=calls)
    assert heard["first"] == heard["second"]
    assert [event.metrics for event in heard["first"] if event.metrics] == list(result.history)


def test_a_callback_can_stop(sealed: Path, tmp_path: Path) -> None:
    def stop(event: Progress) -> None:
        if event.metrics:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cl.train(sealed, CONFIG, out=tmp_path / "run", callbacks=[stop])
    assert cl.train(sealed, CONFIG, out=tmp_path / "run").fit.trained_epochs == 1


def test_trackers_that_are_not_there(
    sealed: Path, tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = call("train", sealed, "--out", tmp_path / "run", "--tracker", "tensorbord")
    assert (code, "tensorboard" in err) == (2, True)
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    code, _, err = call("train", sealed, "--out", tmp_path / "run", "--tracker", "tensorboard")
    assert (code, "pip install" in err, (tmp_path / "run").exists()) == (2, True, False)


def test_a_tracker_gets_every_epoch(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through accelerate, with a tracker of our own; TensorBoard itself is tested in full runs."""
    from accelerate import tracking

    sent: list[tuple[dict[str, Any], int | None]] = []
    settings: dict[str, Any] = {}

    class Kept(tracking.GeneralTracker):
        name = "tensorboard"  # earlier versions of accelerate know no others
        requires_logging_directory = False

        def __init__(self, run_name: str, **_: Any) -> None:
            super().__init__(_blank=True)

        @property
        def tracker(self) -> Any:
            return self

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            settings.update(values)

        def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
            sent.append((values, step))

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", Kept)
    monkeypatch.setattr(tracking, "_available_trackers", [tracking.LoggerType.TENSORBOARD])
    result = cl.train(sealed, CONFIG, out=tmp_path / "run", tracker="tensorboard")
    assert [step for _, step in sent] == [1, 2]
    assert [values["test_accuracy"] for values, _ in sent] == [metrics.test_accuracy for metrics in result.history]
    assert settings["model"] == "preresnet20" and not any(
        str(tmp_path) in str(value) for value in settings.values()
    )
