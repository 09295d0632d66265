"""Models as files of other tools: the same logits at any batch size, and a key only with consent."""

import io
import json
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cipherlens as cl
from cipherlens.errors import CipherlensError, KeyFailureError, UsageError
from cipherlens.keys import Key
from tests.integrations.conftest import HILL, KEY
from tests.security.secrets.needles import encode_cipher, encode_secret
from tests.security.secrets.search import Finder

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
timm = pytest.importorskip("timm")

from cipherlens.integrations.exports import formats  # noqa: E402
from cipherlens.keyed.operators import KeyExportWarning  # noqa: E402
from cipherlens.training.run.load import load_run  # noqa: E402

PERMUTATION = cl.create_cipher("pixel-permutation")


def load(path: Path, locked: bool = False) -> Any:
    run = load_run(path, bound=PERMUTATION.bind(KEY, (3, 32, 32)) if locked else None)
    object.__setattr__(run, "precision", "float32")
    return run


def run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]


def draw(dtype: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    if dtype == "uint8":
        return rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return rng.random((count, 3, 32, 32), dtype=np.float32)


def check_onnx(path: Path, run: Any) -> None:
    for count in (1, 3, 8):
        images = draw(run.dtype, count)
        with torch.inference_mode():
            wanted = run.forward(torch.from_numpy(images)).numpy()
        found = run_onnx(path, images)
        assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def read_metadata(path: Path) -> dict[str, str]:
    meta = onnxruntime.InferenceSession(path).get_modelmeta()
    return dict(meta.custom_metadata_map)


def test_a_run_on_ciphertexts(runs: Path, tmp_path: Path, call: Any) -> None:
    code, out, err = call("export", runs / "run", "--out", tmp_path / "model.onnx", "--json")
    assert code == 0, err
    assert json.loads(out)["contains_key"] is False and json.loads(out)["relative_error"] < 1e-5
    check_onnx(tmp_path / "model.onnx", load(runs / "run"))
    facts = read_metadata(tmp_path / "model.onnx")
    assert facts["cipher"] == "hill" and json.loads(facts["params"])["block"] == 4
    assert facts["key_fingerprint"] == KEY.fingerprint and facts["who_may_hold_it"] == "provider"
    assert json.loads(facts["shape"]) == [3, 32, 32] and facts["dtype"] == "float32"
    assert len(json.loads(facts["classes"])) > 1 and facts["contains_key"] == "false"
    content = (tmp_path / "model.onnx").read_bytes()
    for place in (Path(cl.__file__).parent, Path(torch.__file__).parent, tmp_path):
        assert str(place).encode() not in content, "a path of this machine"
    assert call("export", runs / "run", "--out", tmp_path / "model.onnx")[0] == 2  # exists
    assert call("export", runs / "run", "--out", tmp_path / "model.bin")[0] == 2


def test_a_locked_run_needs_its_key_and_consent(runs: Path, tmp_path: Path, call: Any) -> None:
    KEY.save(tmp_path / "client.key")
    out, key = ("--out", tmp_path / "model.onnx"), ("--key", tmp_path / "client.key")
    assert call("export", runs / "run-locked", *out)[0] == 3
    code, _, err = call("export", runs / "run-locked", *out, *key)
    assert code == 2 and "the key's tables" in err and "--contains-key" in err
    code, _, err = call("export", runs / "run-locked", *out, *key, "--contains-key")
    assert code == 0 and "holds the key's tables" in err
    path = tmp_path / "model.contains-key.onnx"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and not (tmp_path / "model.onnx").exists()
    facts = read_metadata(path)
    assert facts["contains_key"] == "true" and facts["who_may_hold_it"] == "client only"
    check_onnx(path, load(runs / "run-locked", locked=True))
    needles = Finder(encode_cipher(PERMUTATION.bind(KEY, (3, 32, 32))) | encode_secret(KEY.to_bytes(), "key"))
    assert any("pixel-permutation" in what for what in needles.search(path.read_bytes()))
    weights = cl.export(runs / "run-locked", tmp_path / "model.safetensors", format="safetensors", key=KEY)
    assert not weights.contains_key and not needles.search(weights.path.read_bytes())


def test_programs_of_torch_export(runs: Path, tmp_path: Path) -> None:
    done = cl.export(runs / "run-locked", tmp_path / "a.pt2", format="torch-export", key=KEY, contains_key=True)
    assert done.path.name == "a.contains-key.pt2" and done.relative_error is not None and done.relative_error < 1e-5
    extra = {formats.FACTS: ""}
    module = torch.export.load(done.path, extra_files=extra).module()
    run, images = load(runs / "run-locked", locked=True), torch.from_numpy(draw("uint8", 5))
    torch.testing.assert_close(module(images), run.forward(images), rtol=1e-5, atol=1e-5)
    assert json.loads(extra[formats.FACTS])["contains_key"] is True
    assert str(Path(cl.__file__).parent).encode() not in done.path.read_bytes()


@pytest.mark.parametrize(("name", "what"), [("run-folded", "first layer"), ("run-reading", "front end")])
def test_weights_that_decrypt_need_consent(name: str, what: str, runs: Path, tmp_path: Path) -> None:
    for suffix, format in ((".onnx", "onnx"), (".safetensors", "safetensors")):
        with pytest.raises(UsageError, match=what):
            cl.export(runs / name, tmp_path / f"model{suffix}", format=format)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    done = cl.export(runs / name, tmp_path / "model.onnx", contains_key=True)
    assert done.path.name == "model.contains-key.onnx"
    check_onnx(done.path, load(runs / name))


def test_modules(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, bound = cl.create_model("preresnet20", 10).eval(), PERMUTATION.bind(KEY, (3, 32, 32))
    with pytest.raises(UsageError, match="shape"):
        cl.export(model, tmp_path / "plain.onnx")
    assert not cl.export(model, tmp_path / "plain.onnx", shape=(3, 32, 32)).contains_key
    locked = cl.lock(model, bound)
    with pytest.raises(UsageError, match="the key's tables"):
        cl.export(locked, tmp_path / "locked.onnx", shape=(3, 32, 32))
    folded = cl.fold(timm.create_model("convnext_atto", num_classes=4).eval(), HILL.bind(KEY, (3, 32, 32)))
    with pytest.raises(UsageError, match="first layer"):
        cl.export(folded, tmp_path / "folded.onnx", shape=(3, 32, 32))


def test_no_wrapper_hides_a_folded_key(runs: Path, tmp_path: Path) -> None:
    model = timm.create_model("convnext_atto", num_classes=4).eval()
    folded = cl.fold(model, HILL.bind(KEY, (3, 32, 32)))
    averaged = torch.optim.swa_utils.AveragedModel(folded)
    loaded = load_run(runs / "run-folded")
    wrapped = (torch.nn.Sequential(folded), torch.nn.DataParallel(folded), averaged, loaded.model)
    for one in wrapped:
        with pytest.raises(UsageError, match="first layer"):
            cl.export(one, tmp_path / "x.safetensors", format="safetensors", shape=(3, 32, 32))
    with pytest.raises(UsageError, match="first layer"):
        cl.export(loaded, tmp_path / "x.safetensors", format="safetensors")
    shutil.copytree(runs / "run-folded", tmp_path / "old")
    record = json.loads((tmp_path / "old" / "config.json").read_text())
    assert record.pop("folded") is True
    (tmp_path / "old" / "config.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="first layer"):
        cl.export(tmp_path / "old", tmp_path / "x.safetensors", format="safetensors")
    assert not list(tmp_path.glob("x*"))


def test_the_caller_s_model_stays_as_it_is(tmp_path: Path) -> None:
    model = cl.create_model("preresnet20", 10).train().bfloat16()
    cl.export(model, tmp_path / "x.safetensors", format="safetensors", shape=(3, 32, 32))
    assert model.training and next(model.parameters()).dtype == torch.bfloat16
    with pytest.raises(UsageError, match="no folder"):
        cl.export(model, tmp_path / "nowhere" / "x.safetensors", format="safetensors", shape=(3, 32, 32))


def test_weights_have_the_model_s_names(runs: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    done = cl.export(runs / "run", tmp_path / "x.safetensors", format="safetensors")
    model = cl.create_model("preresnet20", 10)
    with safe_open(done.path, "pt") as file:
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        facts = file.metadata()
    assert len(json.loads(facts["normalization"])["mean"]) == 3


def test_exporting_by_hand_warns() -> None:
    locked = cl.lock(cl.create_model("preresnet20", 10).eval(), PERMUTATION.bind(KEY, (3, 32, 32)))
    with pytest.warns(KeyExportWarning, match="holds the key"):
        torch.export.export(locked, (torch.zeros(2, 3, 32, 32),))
    with pytest.raises(UsageError, match="TorchScript"):
        torch.jit.trace(locked, torch.zeros(2, 3, 32, 32))
    with pytest.raises(TypeError, match="cannot be pickled"):
        torch.save(locked, io.BytesIO())


def test_compiled_models_are_the_same() -> None:
    torch.manual_seed(0)
    model, images = cl.create_model("preresnet20", 10).eval(), torch.rand(3, 3, 32, 32)
    locked = cl.lock(model, PERMUTATION.bind(KEY, (3, 32, 32)))
    folded = cl.fold(timm.create_model("convnext_atto", num_classes=4).eval(), HILL.bind(KEY, (3, 32, 32)))
    for one in (locked, folded):
        with torch.no_grad():
            torch.testing.assert_close(torch.compile(one, backend="aot_eager")(images), one(images))


def test_what_fails_leaves_nothing(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown format"):
        cl.export(runs / "run", tmp_path / "x.onnx", format="torchscript")  # type: ignore[arg-type]
    with pytest.raises(KeyFailureError):
        cl.export(runs / "run-locked", tmp_path / "x.onnx", key=Key(bytes(32)), contains_key=True)
    monkeypatch.setitem(formats.FORMATS, "onnx", lambda *_: (b"", lambda images: torch.zeros(len(images), 10)))
    with pytest.raises(CipherlensError, match="nothing was written"):
        cl.export(runs / "run", tmp_path / "x.onnx")
    monkeypatch.undo()
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="need the package onnxruntime"):
        cl.export(runs / "run", tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []
