"""A model repository: what Triton would read is what was exported. No Triton server was tried."""

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cipherlens as cl
from tests.integrations.conftest import KEY
from tests.integrations.test_export import draw, load, run_onnx, torch


@pytest.mark.parametrize("name", ["run", pytest.param("run-locked", marks=pytest.mark.full)])
def test_the_files(name: str, runs: Path, tmp_path: Path, call: Any) -> None:
    KEY.save(tmp_path / "key")
    locked = name == "run-locked"
    more = ("--key", tmp_path / "key", "--contains-key") if locked else ()
    code, _, err = call("export", runs / name, "--format", "triton", "--out", tmp_path / "models", *more)
    assert code == 0, err
    files = sorted(path.relative_to(tmp_path / "models").as_posix() for path in (tmp_path / "models").rglob("*.*"))
    model = "model.contains-key.onnx" if locked else "model.onnx"
    assert files == [f"{name}/1/{model}", f"{name}/config.pbtxt"]
    if locked:
        assert stat.S_IMODE((tmp_path / "models").stat().st_mode) == 0o700
    run = load(runs / name, locked)
    images = draw(run.dtype, 3)
    with torch.inference_mode():
        wanted = run.forward(torch.from_numpy(images)).numpy()
    assert np.abs(run_onnx(tmp_path / "models" / name / "1" / model, images) - wanted).max() < 1e-4


def test_what_is_refused(runs: Path, tmp_path: Path, call: Any) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    for run, out in (("run", "full"), ("run-reading", "new"), ("run-folded", "new")):
        assert call("export", runs / run, "--format", "triton", "--out", tmp_path / out)[0] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


@pytest.mark.full
def test_its_configuration_is_triton_s(runs: Path, tmp_path: Path, call: Any) -> None:
    """Parsed with the official client's protobuf."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    assert call("export", runs / "run", "--format", "triton", "--out", tmp_path / "models")[0] == 0
    text = (tmp_path / "models" / "run" / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert (config.name, list(config.input[0].dims), list(config.output[0].dims)) == ("run", [3, 32, 32], [10])
    assert config.input[0].data_type == model_config_pb2.TYPE_FP32 and config.max_batch_size > 1
    facts = json.loads(config.parameters["cipherlens"].string_value)
    assert facts["key_fingerprint"] == KEY.fingerprint and facts["cipher"] == "hill"
    assert cl.create_cipher(facts["cipher"], **facts["params"])
