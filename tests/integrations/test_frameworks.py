"""Scripts as users of other frameworks write them, on a sealed split: five steps each, with their own classes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler

import cipherlens as cl

KEY = cl.Key(bytes(range(32)))
STEPS = 5

pytestmark = pytest.mark.full


@pytest.fixture
def split(tmp_path: Path) -> Any:
    cl.seal("synthetic:tiny?n=40&test=10&size=16", tmp_path / "set", cl.create_cipher("hill", block=4), KEY)
    return cl.SealedDataset.open(tmp_path / "set").split("train")


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10))


def test_plain_pytorch(split: Any) -> None:
    """Two spawned workers; the images are those of the split."""
    loader = DataLoader(split, batch_size=8, num_workers=2, multiprocessing_context="spawn")
    network = make_network()
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    losses = []
    for images, labels in loader:
        loss = nn.functional.cross_entropy(network(images.float()), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert len(losses) == STEPS and all(map(torch.isfinite, map(torch.tensor, losses)))
    seen = torch.cat([images for images, _ in loader])
    assert torch.equal(seen, torch.from_numpy(split.read_all()))


def test_several_processes_share_a_split(split: Any) -> None:
    parts = [DistributedSampler(split, num_replicas=2, rank=rank, shuffle=False) for rank in (0, 1)]
    labels = [[int(label) for _, batch in DataLoader(split, 8, sampler=part) for label in batch] for part in parts]
    assert sorted(labels[0] + labels[1]) == sorted(split.labels.tolist())


def test_lightning(split: Any, tmp_path: Path) -> None:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.losses = make_network(), []

        def training_step(self, batch: Any, _: int) -> Any:
            images, labels = batch
            loss = nn.functional.cross_entropy(self.network(images.float()), labels)
            self.losses.append(float(loss.detach()))
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.01)

    module = Module()
    trainer = lightning.Trainer(
        max_steps=STEPS, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path
    )
    trainer.fit(module, DataLoader(split, batch_size=8, shuffle=True, num_workers=1))
    assert trainer.global_step == STEPS == len(module.losses)


@pytest.mark.parametrize("rows", ["split", "to_hf"])
def test_the_trainer_of_transformers(rows: str, split: Any, tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = make_network()

        def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.network(pixel_values)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    def collate(samples: list[Any]) -> dict[str, torch.Tensor]:
        if rows == "to_hf":
            samples = [(sample["image"], sample["label"]) for sample in samples]
        images, labels = zip(*samples, strict=True)
        stacked = torch.stack([torch.as_tensor(image).float() for image in images])
        return {"pixel_values": stacked, "labels": torch.tensor([int(label) for label in labels])}

    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=STEPS,
        per_device_train_batch_size=8,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        remove_unused_columns=False,
    )
    data = split if rows == "split" else split.dataset.to_hf()["train"]
    done = Trainer(model=Network(), args=arguments, train_dataset=data, data_collator=collate).train()
    assert done.global_step == STEPS and done.training_loss > 0


def test_compiled_by_inductor() -> None:
    """The default backend of ``torch.compile``, which makes C++ of a locked and of a folded model."""
    import timm

    images, shape = torch.rand(3, 3, 32, 32), (3, 32, 32)
    torch.manual_seed(0)
    locked = cl.lock(
        cl.create_model("preresnet20", 10).eval(), cl.create_cipher("pixel-permutation").bind(KEY, shape)
    )
    network = timm.create_model("convnext_atto", num_classes=4).eval()
    folded = cl.fold(network, cl.create_cipher("hill", block=4).bind(KEY, shape))
    for model in (locked, folded):
        with torch.no_grad():
            wanted, found = model(images), torch.compile(model)(images)
            assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-4


def test_tensorboard(split: Any, tmp_path: Path, call: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments = ("--epochs", 2, "--threads", 1, "--tracker", "tensorboard")
    code, _, err = call("train", split.dataset.root, "--out", tmp_path / "run", *arguments)
    assert code == 0, err
    folder = next((tmp_path / "run" / "tracker").rglob("events.out*")).parent
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [event.step for event in events.Scalars("test_accuracy")] == [1, 2]
