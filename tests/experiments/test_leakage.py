"""The leaderboard: complete, honest about its controls, continued where it stopped."""

import json

import pytest

pytest.importorskip("torch")


def test_leaderboard(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("reproduce", "leakage", "--json")
    assert code == 0, err
    result = json.loads(out)
    rows = {(row["scheme"], row["attack"], row["budget"]): row for row in result["rows"]}
    assert rows["hill block=4", "covariance", 50]["ssim"]["mean"] > 0.8
    one, fifty = (rows["hill block=4", "covariance", budget]["ssim"]["mean"] for budget in (1, 50))
    assert one < fifty
    assert rows["pe", "known-plaintext", 50]["keys_recovered"] == 1
    assert rows["pe", "neighbours", 50]["exact_pixels"]["mean"] > 0.999
    assert rows["pe per_image=True", "neighbours", 50]["beats_guessing"] is False
    assert rows["pe per_image=True", "minimum-difference", 50]["beats_guessing"]
    assert rows["pe", "minimum-difference", 50]["alignment"] == "affine each"
    assert rows["pixel-permutation", "chosen-plaintext", 1]["exact_pixels"]["mean"] == 1
    assert ("pixel-permutation", "correlation", 1) not in rows
    assert rows["ffx block=4", "levels", 50]["exact_pixels"]["mean"] > 0.9  # it needs public images
    apart = {(row["scheme"], row["attack"]): row for row in result["key_per_image"]}
    assert {scheme for scheme, _ in apart} == {"hill block=4", "pe", "ffx block=4"}
    assert apart["hill block=4", "covariance"]["n"] == apart["hill block=4", "covariance"]["keys"] == 20
    assert apart["hill block=4", "covariance"]["ssim"]["mean"] < one + 0.2
    assert apart["pe", "minimum-difference"]["beats_guessing"]
    pairs = {(control["scheme"], control["attack"], control["control"]) for control in result["controls"]}
    assert {(scheme, attack) for scheme, attack, _ in rows} == {(scheme, attack) for scheme, attack, _ in pairs}
    failed = {(control["attack"], control["control"]) for control in result["controls"] if not control["passed"]}
    assert failed <= {("correlation", "identity")}  # 120 pictures are not enough for every pixel
    folder = tmp_path / "reproduce" / "leakage-smoke"
    assert (folder / "figure.png").stat().st_size > 10_000
    trials = {path: path.stat().st_mtime_ns for path in (folder / "trials").iterdir()}
    lost = folder / "trials" / "pe-neighbours-budget50-key0.json"
    lost.unlink()
    code, again, _ = call("reproduce", "leakage", "--json")
    assert code == 0
    assert [row["ssim"] for row in json.loads(again)["rows"]] == [row["ssim"] for row in result["rows"]]
    kept = {path: path.stat().st_mtime_ns for path in (folder / "trials").iterdir() if path != lost}
    assert kept == {path: time for path, time in trials.items() if path != lost}
    assert lost.exists()
    code, _, err = call("reproduce", "leakage", "--source", "synthetic:tiny?n=150&test=120&seed=1")
    assert code == 2
    assert "other images" in err
