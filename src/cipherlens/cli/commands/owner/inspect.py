"""``cipherlens inspect``: say what a file or folder is, without any key."""

from pathlib import Path
from typing import Any

from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.broken import describe_breaks, find_breaks
from cipherlens.ciphers.estimated_inverse import SUFFIX, EstimatedInverse
from cipherlens.cli.console import emit
from cipherlens.cli.options.types import Json, SealedSet
from cipherlens.data.run_files import read_run_files
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.manifest import FILE_NAME
from cipherlens.data.storage.url import Place, Url
from cipherlens.errors import DataError
from cipherlens.holders import CLIENT, FIELD, choose_holder
from cipherlens.keys.keyfile import read_fields
from cipherlens.untrusted import open_untrusted, read_json

_REPORT = "report.json"


def inspect(path: SealedSet, /, *, as_json: Json = False) -> None:
    """Say what something of ours is, and who may hold it. Secret values are not shown.

    Parameters
    ----------
    path
        Key file, sealed data set, run folder, map of an attack, or the folder of an audit.
    """
    facts = describe(path)
    shown = facts
    if "broken_by" in facts:
        cipher = create_cipher(facts["cipher"], **facts["params"])
        shown = facts | {"broken_by": describe_breaks(cipher)}
    emit(facts, as_json, [f"{name.replace('_', ' ')}: {_show(value)}" for name, value in shown.items()])


def describe(path: Place) -> dict[str, Any]:
    """What a path is, as JSON-able facts; raises DataError if it is nothing of ours."""
    if isinstance(path, Url) or (path / FILE_NAME).is_file():
        return _describe_sealed(path)
    if (path / "config.json").is_file():
        return _describe_run(path)
    if path.is_file() and _begins_like_key(path):
        fields = read_fields(path)
        shown = ("comment", "created", "fingerprint", "protection")
        return {"kind": "key file", FIELD: CLIENT, **{name: fields.get(name, "") for name in shown}}
    if path.suffix == SUFFIX and path.is_file():
        return _describe_map(path)
    if (path / _REPORT).is_file():
        return _describe_report(path)
    raise DataError(f"{path} is no key file, sealed data set, run, map or audit", hint="check the path")


def _begins_like_key(path: Path) -> bool:
    with open_untrusted(path) as file:
        return b"cipherlens-key" in file.read(4096)


def _describe_sealed(path: Place) -> dict[str, Any]:
    dataset = SealedDataset.open(path)
    dataset.verify()
    spec = dataset.spec
    cipher = spec.create_cipher()
    return {
        "kind": "sealed data set",
        FIELD: spec.holder,
        "authenticated": False,
        "id": spec.id or "none (format version 1)",
        "created": dataset.manifest.created or "not recorded",
        "counter": dataset.manifest.counter,
        "cipher": spec.cipher,
        "params": spec.params,
        "key_fingerprint": spec.key_fingerprint,
        "images": dataset.splits,
        "plain_shape": list(spec.plain_shape),
        "masks": spec.masked,
        "variants_of_training_images": spec.augment,
        "window_of_deep_images": spec.window or "none",
        "ciphertext": f"{spec.ct_dtype} {'x'.join(map(str, spec.ct_shape))}",
        "classes": list(spec.classes),
        "shards": len(dataset.manifest.shards),
        "bytes": sum(shard.bytes for shard in dataset.manifest.shards),
        "what_leaks": cipher.threat_note,
        "broken_by": find_breaks(cipher),
        "key_space_bits": round(cipher.key_bits(spec.padded_shape)),
    }


def _describe_run(path: Path) -> dict[str, Any]:
    files = read_run_files(path)
    last = files.epochs[-1] if files.epochs else {}
    return {
        "kind": "run",
        FIELD: choose_holder(files.can_decrypt),
        "model": files.config.get("model"),
        "adaptation_block": files.config.get("adapt_block"),
        "locked": files.config.get("lock"),
        "cipher": files.provenance.get("cipher"),
        "key_fingerprint": files.provenance.get("key_fingerprint"),
        "other_keys": files.other_keys,
        "can_decrypt": files.can_decrypt,
        "epochs_done": len(files.epochs),
        **{name: last.get(name) for name in ("test_accuracy", "test_iou")},
    }


def _describe_map(path: Path) -> dict[str, Any]:
    inverse = EstimatedInverse.load(path)
    target = {} if inverse.target is None else vars(inverse.target)
    return {"kind": "map", FIELD: CLIENT, "form": inverse.kind, "ciphertext": list(inverse.shape), **target}


def _describe_report(path: Path) -> dict[str, Any]:
    report = read_json(path / _REPORT, path, "is this the folder of an audit? it may be damaged")
    if report.get("format") != "cipherlens-audit":
        raise DataError(f"{path / _REPORT} is no report of an audit", hint="check the path")
    return {"kind": "audit", FIELD: CLIENT, **{name: report.get(name) for name in ("verdict", "verdict_text")}}


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
