"""``cipherlens inspect``: say what a file or folder is, without any key."""

import json
from pathlib import Path
from typing import Any

from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.broken import describe_breaks, find_breaks
from cipherlens.cli.console import Json, emit
from cipherlens.data.manifest import FILE_NAME
from cipherlens.data.sealed import SealedDataset
from cipherlens.errors import DataError
from cipherlens.keys.keyfile import read_fields


def inspect(path: Path, *, as_json: Json = False) -> None:
    """Say what a key file, a sealed data set or a run folder is. Secret values are not shown.

    Parameters
    ----------
    path
        Key file, sealed data set, or run folder.
    """
    facts = describe(path)
    shown = facts
    if "broken_by" in facts:
        cipher = create_cipher(facts["cipher"], **facts["params"])
        shown = facts | {"broken_by": describe_breaks(cipher)}
    emit(facts, as_json, [f"{name.replace('_', ' ')}: {_show(value)}" for name, value in shown.items()])


def describe(path: Path) -> dict[str, Any]:
    """What a path is, as JSON-able facts; raises DataError if it is nothing of ours."""
    if (path / FILE_NAME).is_file():
        return _describe_sealed(path)
    if (path / "config.json").is_file():
        return _describe_run(path)
    if path.is_file() and b"cipherlens-key" in path.read_bytes()[:4096]:
        fields = read_fields(path)
        shown = ("comment", "created", "fingerprint", "protection")
        return {"kind": "key file", **{name: fields.get(name, "") for name in shown}}
    raise DataError(f"{path} is no key file, sealed data set or run", hint="check the path")


def _describe_sealed(path: Path) -> dict[str, Any]:
    dataset = SealedDataset.open(path)
    dataset.verify()
    plan = dataset.plan
    cipher = create_cipher(plan.cipher, **plan.params)
    return {
        "kind": "sealed data set",
        "cipher": plan.cipher,
        "params": plan.params,
        "key_fingerprint": plan.key_fingerprint,
        "images": dataset.splits,
        "plain_shape": list(plan.plain_shape),
        "masks": plan.masked,
        "variants_of_training_images": plan.augment,
        "ciphertext": f"{plan.ct_dtype} {'x'.join(map(str, plan.ct_shape))}",
        "classes": list(plan.classes),
        "shards": len(dataset.manifest.shards),
        "bytes": sum(shard.bytes for shard in dataset.manifest.shards),
        "what_leaks": cipher.threat_note,
        "broken_by": find_breaks(cipher),
        "key_space_bits": round(cipher.key_bits(plan.padded_shape)),
    }


def _describe_run(path: Path) -> dict[str, Any]:
    try:
        config = json.loads((path / "config.json").read_bytes())
        training, provenance = config["config"], config["provenance"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path / 'config.json'} is damaged: {error}", hint="train again") from None
    lines = (path / "metrics.jsonl").read_text().splitlines() if (path / "metrics.jsonl").is_file() else []
    return {
        "kind": "run",
        "model": training.get("model"),
        "adaptation_block": training.get("adapt_block"),
        "locked": training.get("lock"),
        "cipher": provenance.get("cipher"),
        "key_fingerprint": provenance.get("key_fingerprint"),
        "epochs_done": len(lines),
        **{name: json.loads(lines[-1]).get(name) if lines else None for name in ("test_accuracy", "test_iou")},
    }


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
