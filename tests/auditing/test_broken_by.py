"""What a cipher is broken by: as the records say, shown where ciphers are chosen."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cipherlens.attacks import get_attack
from cipherlens.ciphers import CIPHERS, broken, create_cipher
from cipherlens.ciphers.broken import describe_breaks, find_breaks

ROOT = Path(__file__).parents[2]
NOTHING = "nothing was measured, which does not mean that it holds"


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "pages"))
    return importlib.import_module("broken_by")


@pytest.mark.skipif(not (ROOT / "results").is_dir(), reason="the records are not here")
def test_the_file_is_what_the_records_say(generator: ModuleType) -> None:
    stored = json.loads((ROOT / "src" / "cipherlens" / "ciphers" / "broken_by.json").read_text())
    assert stored == generator.collect(ROOT / "results"), "run python benchmarks/pages/broken_by.py"
    for name, rows in stored.items():
        assert name in CIPHERS or name == "compose"
        for row in rows:
            attack, shape = get_attack(row["attack"]), (3, row["side"], row["side"])
            assert attack.supports(create_cipher(name, **row["params"]), shape, shape)
            assert attack.threat_model.name == row["threat_model"]
            assert (ROOT / "results" / row["record"]).is_file()


def write(folder: Path, name: str, results: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps({"results": results}))


def make_row(scheme: str, attack: str, budget: int, ssim: float, **changes: Any) -> dict[str, Any]:
    spread = {"mean": ssim, "min": ssim, "max": ssim}
    row = {"scheme": scheme, "attack": attack, "threat_model": "coa", "budget": budget, "ssim": spread}
    return row | {"beats_guessing": True, "exact_pixels": {"min": 0.5}} | changes


def test_the_cheapest_way_to_the_best_result_is_taken(generator: ModuleType, tmp_path: Path) -> None:
    rows = [
        *(
            make_row("pe", "neighbours", budget, ssim)
            for budget, ssim in ((1, 0.7), (5, 0.985), (10, 0.991), (100, 0.999))
        ),
        make_row("pe per_image=True", "neighbours", 10, 0.9, beats_guessing=False),
        make_row("pe per_image=True", "minimum-difference", 10, 0.45),
        make_row("negpos", "neighbours", 10, 0.95),  # failed its control
        make_row("np block=4", "neighbours", 10, 0.29),
        make_row("pe", "known-plaintext", 1, 0.995, threat_model="kpa"),
        make_row("pe", "known-plaintext", 10, 1.0, threat_model="kpa", exact_pixels={"min": 1}),
    ]
    controls = [
        {"scheme": scheme, "attack": "neighbours", "control": "stream", "passed": scheme != "negpos"}
        for scheme in ("pe", "negpos", "np block=4")
    ]
    write(tmp_path, "leakage-cpu.json", {"shape": [3, 32, 32], "rows": rows, "controls": controls})
    pair = {"cipher": "pe", "params": {}, "side": 32, "pairs": 2, "queries": None}
    write(tmp_path, "known-pairs.json", {"rows": [pair]})
    found = generator.collect(tmp_path)
    got = {(name, r["per_image"], r["attack"], r["budget"], r["exact"]) for name in found for r in found[name]}
    assert got == {
        ("pe", False, "neighbours", 10, False),
        ("pe", True, "minimum-difference", 10, False),
        ("pe", False, "known-plaintext", 2, True),
    }
    assert generator.collect(tmp_path / "empty") == {}


def make_break(attack: str, model: str, **changes: Any) -> dict[str, Any]:
    row = {"attack": attack, "threat_model": model, "per_image": False, "params": {"block": 4, "orthogonal": False}}
    return row | {"side": 32, "budget": 1000, "ssim": 0.9997, "exact": False, "record": "r.json"} | changes


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    monkeypatch.setattr(broken, "_load", lambda: rows)
    return rows


def test_in_words(stored: dict[str, Any]) -> None:
    stored["hill"] = [
        make_break("chosen-plaintext", "cpa", budget=1, ssim=1.0, exact=True),
        make_break("covariance", "coa"),
        make_break("hill-known-plaintext", "kpa", budget=2, ssim=0.5),
    ]
    assert describe_breaks(create_cipher("hill")) == (
        "covariance (ciphertexts only, 1,000 ciphertexts of 32x32: SSIM 1.00), "
        "chosen-plaintext (1 chosen picture of 32x32: exact); "
        "read in part by hill-known-plaintext (2 pairs of 32x32: SSIM 0.50)"
    )
    assert describe_breaks(create_cipher("hill", block=8)).count("measured with block=4 orthogonal=False") == 3
    assert describe_breaks(create_cipher("le")) == NOTHING
    assert "not encrypted" in describe_breaks(create_cipher("identity"))


def test_what_was_measured_on_the_same_parameters_counts_first(stored: dict[str, Any]) -> None:
    other = make_break("covariance", "coa", params={"block": 8, "orthogonal": False}, ssim=0.8)
    stored["hill"] = [make_break("covariance", "coa"), other]
    for block, ssim in ((4, 0.9997), (8, 0.8), (2, 0.9997)):
        assert [row["ssim"] for row in find_breaks(create_cipher("hill", block=block))] == [ssim]


def test_a_key_for_every_image_is_another_row(stored: dict[str, Any]) -> None:
    stored["pe"] = [
        make_break("neighbours", "coa", params={"colour": True, "per_image": False}),
        make_break(
            "minimum-difference", "coa", per_image=True, params={"colour": True, "per_image": True}, ssim=0.5
        ),
    ]
    names = {
        each: [r["attack"] for r in find_breaks(create_cipher("pe", per_image=each))] for each in (False, True)
    }
    assert names == {False: ["neighbours"], True: ["minimum-difference"]}
    assert describe_breaks(create_cipher("pe", per_image=True)).startswith("read in part by minimum-difference")


def test_compositions_do_not_stand_in_for_one_another(stored: dict[str, Any]) -> None:
    first, second = (create_cipher(name, block=4) for name in ("np+block-scrambling", "shf+np"))
    stored["compose"] = [make_break("known-plaintext", "kpa", params=first.params)]
    assert find_breaks(first) and not find_breaks(second)


def test_shown_where_ciphers_are_chosen(call: Any, folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "client.key"
    assert call("keygen", key)[0] == 0
    for cipher in ("hill", "stream"):
        code, _, err = call("encrypt", folder, tmp_path / cipher, "--key", key, "--cipher", cipher, "--workers", 1)
        assert code == 0
        expected = describe_breaks(create_cipher(cipher))
        assert f"broken by: {expected}" in err
        code, out, _ = call("inspect", tmp_path / cipher)
        assert f"broken by: {expected}\n" in out
        facts = json.loads(call("inspect", tmp_path / cipher, "--json")[1])
        assert facts["broken_by"] == find_breaks(create_cipher(cipher))
    assert NOTHING in out
    assert facts["broken_by"] == []
    rows = json.loads(call("ciphers", "--json")[1])
    assert rows["hill"]["broken_by"][0]["attack"] == "covariance"


def test_without_torch() -> None:
    code = (
        "import sys, cipherlens.ciphers.broken, cipherlens.cli.commands.owner.client;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
