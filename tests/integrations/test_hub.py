"""Models for others: timm reads plain backbones and refuses the rest; no key leaves without consent."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch

import cipherlens as cl
from tests.integrations.conftest import KEY


def answer(model: Any, run: Any, count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a timm model, prepared by its own configuration, and of the run."""
    images = torch.randint(
        0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    mean, std = (torch.tensor(model.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        return model.eval()((images / 255 - mean) / std), run.forward(images)


MENDED = tuple(map(int, timm.__version__.split(".")[:3])) >= (1, 0, 29)
READS = pytest.mark.skipif(not MENDED, reason="this timm fails on folders with several files of weights")


@READS
@pytest.mark.parametrize("saved", [False, True], ids=["run folder", "saved"])
def test_timm_reads_plain_backbones(saved: bool, runs: Path, tmp_path: Path) -> None:
    folder = runs / "run-embedding"
    if saved:
        folder = cl.hub.save_pretrained(folder, tmp_path / "out")
        assert sorted(path.name for path in folder.iterdir()) == [
            "README.md",
            "config.json",
            "curves.png",
            "metrics.jsonl",
            "model.safetensors",
        ]
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    run = cl.hub.from_pretrained(folder)
    object.__setattr__(run, "precision", "float32")
    theirs, ours = answer(model, run)
    assert torch.allclose(theirs, ours, atol=1e-5)
    assert model.pretrained_cfg["label_names"] == list(run.classes)


@READS
def test_inputs_of_other_shapes(tmp_path: Path) -> None:
    """A vision transformer has the size of its images in timm too."""
    cl.seal("synthetic:tiny?n=20&test=10&size=32", tmp_path / "set", cl.create_cipher("identity"), KEY)
    config = cl.TrainConfig(
        model="vit_tiny_patch16_224", epochs=1, threads=1, precision="float32", optimizer="adamw"
    )
    cl.train(tmp_path / "set", config, out=tmp_path / "run")
    model = timm.create_model(f"local-dir:{tmp_path / 'run'}", pretrained=True)
    run = cl.hub.from_pretrained(tmp_path / "run")
    assert torch.allclose(*answer(model, run), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "said"),
    [("run-plain", "preresnet20"), ("run-locked", "locked:preresnet20"), ("run-reading", "front-end:preresnet20")],
)
def test_timm_refuses_the_others_by_name(name: str, said: str, runs: Path) -> None:
    with pytest.raises(RuntimeError, match=f"cipherlens:{said}"):
        timm.create_model(f"local-dir:{runs / name}", pretrained=True)


def test_there_and_back(runs: Path, tmp_path: Path, call: Any) -> None:
    ours = {"run": None, "run-locked": KEY}
    images = np.random.default_rng(0).random((4, 3, 32, 32), np.float32)
    for name, key in ours.items():
        folder = cl.hub.save_pretrained(runs / name, tmp_path / name, weights="last")
        first, second = (cl.hub.from_pretrained(place, key=key) for place in (runs / name, folder))
        with torch.inference_mode():
            found = [run.forward(torch.from_numpy(images)) for run in (first, second)]
        assert torch.equal(*found)
    with pytest.raises(cl.CipherlensError, match="locked with key"):
        cl.hub.from_pretrained(tmp_path / "run-locked")
    code, out, err = call("test", tmp_path / "run", runs / "hill-set", "--json")
    assert code == 0, err
    assert json.loads(out) | {"run": "", "seconds": 0} == json.loads(
        call("test", runs / "run", runs / "hill-set", "--json")[1]
    ) | {"run": "", "seconds": 0}


@pytest.mark.parametrize("name", ["run-folded", "run-reading"])
def test_weights_that_hold_a_key_need_consent(name: str, runs: Path, tmp_path: Path) -> None:
    with pytest.raises(cl.CipherlensError, match="the weights hold"):
        cl.hub.save_pretrained(runs / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    folder = cl.hub.save_pretrained(runs / name, tmp_path / "out", contains_key=True)
    assert cl.hub.from_pretrained(folder).classes


def test_timm_s_own_folders_are_weights(runs: Path, tmp_path: Path) -> None:
    """The other direction: what timm saves is taken as initial weights."""
    from timm.models import save_for_hf

    model = timm.create_model("convnext_atto", num_classes=7)
    save_for_hf(model, tmp_path / "theirs", safe_serialization=True)
    found = cl.create_model("convnext_atto", num_classes=7, weights=tmp_path / "theirs")
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), found.state_dict().values(), strict=True)
    )
    with pytest.raises(cl.CipherlensError, match=r"model\.safetensors"):
        cl.create_model("convnext_atto", num_classes=7, weights=tmp_path)


def test_the_hub_s_own_path(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of the hub is asked for the right things; nothing is sent here."""
    import huggingface_hub

    asked: dict[str, Any] = {}

    class Api:
        def __init__(self, token: str | None = None) -> None:
            asked["token"] = token

        def create_repo(self, repo: str, private: bool, exist_ok: bool) -> None:
            asked["private"] = private

        def upload_folder(self, repo_id: str, folder_path: Path) -> Any:
            asked["files"] = sorted(path.name for path in Path(folder_path).iterdir())
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert cl.hub.push_to_hub(runs / "run", "me/model", token="t") == "https://hub/me/model"
    assert asked["private"] and "model.safetensors" in asked["files"] and "README.md" in asked["files"]
    with pytest.raises(cl.CipherlensError, match="the weights hold"):
        cl.hub.push_to_hub(runs / "run-reading", "me/model")
    folder = cl.hub.save_pretrained(runs / "run", tmp_path / "saved")
    cache = tmp_path / "cache"  # as the hub's: links to files with other names
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshot").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        (cache / "blobs" / str(number)).write_bytes(file.read_bytes())
        (cache / "snapshot" / file.name).symlink_to(f"../blobs/{number}")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **_: str(cache / "snapshot"))
    assert cl.hub.from_pretrained("me/model").classes


def test_what_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(cl.CipherlensError, match="cannot be fetched"):
        cl.hub.from_pretrained(str(tmp_path / "nowhere"))
    with pytest.raises(cl.CipherlensError, match="cannot be fetched"):
        cl.hub.from_pretrained("me/nothing")


def test_the_card_has_metadata(runs: Path) -> None:
    """The first lines are what the hub shows and searches."""
    card = (runs / "run-embedding" / "MODEL_CARD.md").read_text()
    assert card.startswith("---\nlibrary_name: timm\npipeline_tag: image-classification\n")
    assert (runs / "run-locked" / "MODEL_CARD.md").read_text().startswith("---\nlibrary_name: cipherlens\n")


def test_saved_folders_are_runs(runs: Path, tmp_path: Path, call: Any) -> None:
    """They can be locked and folded, and an audit knows which plain one a folded one is from."""
    from cipherlens.attacks.model.keyed_runs import _is_folded_from

    KEY.save(tmp_path / "key")
    plain = cl.hub.save_pretrained(runs / "run-embedding", tmp_path / "plain")
    fold = ("fold", plain, "--sealed", runs / "hill-set", "--key", tmp_path / "key", "--out", tmp_path / "folded")
    assert call(*fold)[0] == 0
    code, out, err = call("test", tmp_path / "folded", runs / "hill-set", "--json")
    theirs = call("test", runs / "run-folded", runs / "hill-set", "--json")[1]
    assert code == 0 and json.loads(out)["loss"] == pytest.approx(json.loads(theirs)["loss"]), err
    assert _is_folded_from(tmp_path / "folded", plain)
    other = cl.hub.save_pretrained(runs / "run-plain", tmp_path / "other")
    assert call("lock", other, "--key", tmp_path / "key", "--out", tmp_path / "locked")[0] == 0
    assert cl.hub.from_pretrained(tmp_path / "locked", key=KEY).classes


def test_no_path_of_this_machine_is_saved(runs: Path, tmp_path: Path) -> None:
    weights = tmp_path / "mine" / "first.safetensors"
    weights.parent.mkdir()
    weights.write_bytes((runs / "run" / "last.safetensors").read_bytes())
    config = cl.TrainConfig(model="preresnet20", epochs=1, threads=1, weights=str(weights))
    cl.train(runs / "hill-set", config, out=tmp_path / "run")
    folder = cl.hub.save_pretrained(tmp_path / "run", tmp_path / "out")
    assert not any(str(tmp_path).encode() in file.read_bytes() for file in folder.iterdir())
    assert cl.hub.from_pretrained(folder).config.weights == "first.safetensors"


def test_networks_that_timm_would_build_otherwise_are_refused(tmp_path: Path) -> None:
    """Swin's windows depend on the size of images, in timm in another way."""
    from cipherlens.training.engine.normalization import Normalization
    from cipherlens.training.run.architecture import describe_architecture

    scale = Normalization((0.5,) * 3, (0.5,) * 3)
    for name, side, known in (
        ("swin_tiny_patch4_window7_224", 64, "cipherlens:resized:swin_tiny_patch4_window7_224"),
        ("swin_tiny_patch4_window7_224", 224, "swin_tiny_patch4_window7_224"),
        ("vit_tiny_patch16_224", 64, "vit_tiny_patch16_224"),
    ):
        found = describe_architecture(cl.TrainConfig(model=name), ("a", "b"), (3, side, side), scale, 0)
        assert found["architecture"] == known
