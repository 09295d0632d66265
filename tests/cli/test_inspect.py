"""``inspect``: what each result is, and who may hold it, as its own metadata say."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

import cipherlens as cl
from cipherlens.ciphers.estimated_inverse import Target
from cipherlens.ciphers.exact_inverse import invert
from cipherlens.holders import ANYBODY, CLIENT, FIELD, PROVIDER
from cipherlens.keys import Key
from cipherlens.records import write_record

KEY = Key(bytes(range(32)))
SOURCE = "synthetic:tiny?n=40&test=20&size=32"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each result."""
    pytest.importorskip("torch")
    pytest.importorskip("jinja2")
    root = tmp_path_factory.mktemp("made")
    KEY.save(root / "client.key")
    KEY.save(root / "locked.key", "some words")
    hill = cl.create_cipher("hill", block=4)
    cl.seal(SOURCE, root / "sealed", hill, KEY)
    cl.seal(SOURCE, root / "plain", cl.create_cipher("identity"), KEY)
    bound = hill.bind(KEY, (3, 32, 32))
    invert(bound).save(root / "map.safetensors", Target("hill", hill.params, KEY.fingerprint))
    config = cl.TrainConfig(model="test_efficientnet", epochs=1, threads=1)
    cl.train(root / "sealed", config, out=root / "run")
    report = cl.audit(root / "sealed", plain=SOURCE, config=cl.AuditConfig(attacks=("known-plaintext",)))
    report.write(root / "audit")
    return root


HOLDERS = {
    "client.key": CLIENT,
    "locked.key": CLIENT,
    "sealed": PROVIDER,
    "plain": CLIENT,
    "map.safetensors": CLIENT,
    "run": PROVIDER,
    "audit": CLIENT,
}


def read_metadata(path: Path) -> str:
    """Who may hold it, as the file itself says."""
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as file:
            return str(file.metadata()[FIELD])
    if path.suffix == ".key":
        return next(line for line in path.read_text().splitlines() if line.startswith(FIELD)).partition(": ")[2]
    names = ("manifest.json", "config.json", "report.json")
    found = next(path / name for name in names if (path / name).exists())
    return str(json.loads(found.read_text())[FIELD])


@pytest.mark.parametrize("name", HOLDERS)
def test_every_result_says_who_may_hold_it(name: str, made: Path, call) -> None:
    assert read_metadata(made / name) == HOLDERS[name]
    code, out, _ = call("inspect", made / name, "--json")
    facts = json.loads(out)
    assert code == 0 and facts[FIELD] == HOLDERS[name] and facts["kind"]
    assert f"who may hold it: {HOLDERS[name]}" in call("inspect", made / name)[1]


def test_a_run_that_can_decrypt_is_for_the_client_only(made: Path, tmp_path: Path, call) -> None:
    train = ("train", made / "sealed", "--out", tmp_path / "run", "--model", "test_efficientnet")
    options = ("--adapt", "--front-end", made / "map.safetensors", "--epochs", "1", "--threads", "1")
    code, _, err = call(*train, *options)
    assert code == 0, err
    assert json.loads(call("inspect", tmp_path / "run", "--json")[1])[FIELD] == CLIENT
    assert read_metadata(tmp_path / "run") == CLIENT
    assert "| who may hold it | client only |" in (tmp_path / "run" / "MODEL_CARD.md").read_text()
    assert "| who may hold it | provider |" in (made / "run" / "MODEL_CARD.md").read_text()


def test_pages_and_records_say_it_too(made: Path, tmp_path: Path) -> None:
    assert "Who may hold this page</dt><dd>The client only" in (made / "audit" / "report.html").read_text()
    write_record(tmp_path / "record.json", "command", {})
    assert json.loads((tmp_path / "record.json").read_text())[FIELD] == ANYBODY


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": "other"}', b"[]", b"\xff"])
def test_another_report_is_refused(content: bytes, tmp_path: Path, call) -> None:
    (tmp_path / "report.json").write_bytes(content)
    code, _, err = call("inspect", tmp_path)
    assert code == 4 and "error:" in err


def test_what_is_nothing_of_ours_is_refused(tmp_path: Path, call) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"12345678")
    assert call("inspect", tmp_path / "x.safetensors")[0] == 4
    code, _, err = call("inspect", tmp_path)
    assert code == 4 and "no key file, sealed data set, run, map or audit" in err
