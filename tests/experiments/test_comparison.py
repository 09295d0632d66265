"""The comparison of schemes."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from cipherlens.errors import UsageError  # noqa: E402
from cipherlens.experiments import read_settings  # noqa: E402
from cipherlens.experiments.comparison import run_comparison  # noqa: E402
from cipherlens.experiments.reporting import Reporter  # noqa: E402

SILENT = Reporter(print, lambda _: nullcontext(lambda *_: None), lambda *_: None)


def test_schemes_are_compared_with_and_without_help(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("reproduce", "scheme-comparison", "--json")
    assert code == 0, err
    result = json.loads(out)
    rows = {(row["scheme"], row["model"], row["way"]): row for row in result["rows"]}
    plain, vit = rows["identity", "preresnet20", "none"], rows["identity", "vit-cifar", "none"]
    locked, folded = rows["pixel-permutation", "preresnet20", "locked"], rows["shf block=4", "vit-cifar", "folded"]
    assert (locked["mean"], folded["mean"]) == (plain["mean"], vit["mean"])
    assert locked["parameters"] == plain["parameters"]
    assert rows["hill block=4", "preresnet20", "er"]["parameters"] > plain["parameters"]
    assert rows["hill block=4", "preresnet20", "none"]["bytes_per_image"] > 3.5 * plain["bytes_per_image"]
    attacks = {found["attack"]: found for found in rows["hill block=4", "preresnet20", "none"]["leakage"]}
    assert attacks["known-plaintext"]["ssim"] > 0.99
    assert attacks["covariance"]["ssim"] > attacks["covariance"]["guess_ssim"] + 0.2
    (found,) = rows["ele block=4", "preresnet20", "ele"]["leakage"]
    assert found["attack"] == "known-plaintext"
    assert plain["milliseconds"] > 0
    folder = tmp_path / "reproduce" / "scheme-comparison-smoke"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    _, again, _ = call("reproduce", "scheme-comparison", "--json")
    assert [row["mean"] for row in json.loads(again)["rows"]] == [row["mean"] for row in result["rows"]]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before


@pytest.mark.parametrize(
    ("schemes", "reason"),
    [
        ([{"cipher": {"name": "hill"}, "ways": ["help"]}], "help"),
        ([{"cipher": {"name": "pixel-permutation"}, "ways": ["locked"]}], "plain images"),
        ([{"cipher": {"name": "hil"}, "ways": ["none"]}], "hil"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sealed(schemes, reason, tmp_path):
    settings = read_settings("scheme-comparison", "smoke")
    wrong = replace(settings, options={**settings.options, "schemes": schemes})
    with pytest.raises(UsageError, match=reason):
        run_comparison(wrong, tmp_path / "out", 1, SILENT)
    assert not (tmp_path / "out").exists()
