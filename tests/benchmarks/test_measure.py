"""A measurement is run once in a while, by hand: here on a handful of images, so that it still can be."""

import json
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("torchmetrics")

MEASURE = Path(__file__).parents[2] / "benchmarks" / "measure"
SOURCE = "synthetic:tiny?n=40&test=24&size=16"


@pytest.mark.parametrize(
    ("options", "believed"),
    [(("--prior", "40"), "photos"), (("--prior", "0", "--starts", "2"), "parametric")],
)
def test_the_covariance_attack_is_measured(tmp_path, monkeypatch, options, believed):
    out, script = tmp_path / "record.json", MEASURE / "covariance_leakage.py"
    small = (SOURCE, "--block", "4", "--images", "24", "--keys", "1")
    monkeypatch.setattr(sys, "argv", [str(script), *small, *options, "--out", str(out)])
    monkeypatch.syspath_prepend(str(MEASURE))
    runpy.run_path(str(script), run_name="__main__")
    record = json.loads(out.read_text())
    found = record["results"]
    assert record["command"].startswith("python benchmarks/measure/covariance_leakage.py")
    assert found["keys"] == len(found["per_key"]) == 1 and found["per_key"][0]["believed"] == believed
    assert found["ssim"] > found["guess_ssim"] and not found["stream_control_beats_guessing"]


def test_a_cell_of_the_covariance_matrix_is_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(MEASURE))
    matrix = runpy.run_path(str(MEASURE / "covariance_matrix.py"), run_name="measure")
    matrix["PUBLIC"]["cifar10"] = 40
    places = {"imagenette": SOURCE, "cifar10": SOURCE}
    cell = matrix["run"](places, "imagenette", "cifar10", block=4, budget=24)
    assert cell["believed"] == ["photos"] and cell["n"] == 24 and cell["ssim"] > 0.6
    alone = matrix["run"](places, "imagenette", "none", block=2, budget=1)
    assert alone["believed"] == ["parametric"] and alone["n"] == 20


@pytest.mark.parametrize("script", sorted(MEASURE.glob("*.py")), ids=lambda path: path.stem)
def test_every_measurement_can_be_loaded(script, monkeypatch):
    monkeypatch.syspath_prepend(str(MEASURE))
    runpy.run_path(str(script), run_name="measure")
