"""Key files: the same key comes out, or none."""

import base64
import hashlib
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from tests.security.fuzz.mutate_bytes import mutate_bytes
from tests.security.fuzz.mutate_text import mutate_key_file
from tests.security.fuzz.outcome import Altered
from tests.security.fuzz.target import KEYS, OPEN_SESAME, Case, Target
from tests.security.fuzz.trees import FORMATS, Pipe, Tree, replace_node

_PLAIN = ("client.key", "long-comment.key")
_CHEAP = {"memory-kib": "64", "passes": "1", "lanes": "1"}


def make_cheap_file(key: Any) -> str:
    """A protected key file whose passphrase costs nothing to try, written from the format's description."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    salt, nonce = bytes(range(16)), bytes(range(12))
    header = {
        **{"cipherlens-key": "1", "comment": "cheap", "created": "2026-11-24", "fingerprint": key.fingerprint},
        **{"protection": "argon2id-aes256gcm", "salt": _b64(salt), "nonce": _b64(nonce), **_CHEAP},
    }
    lines = [f"{name}: {value}" for name, value in header.items()]
    derived = Argon2id(salt=salt, length=32, iterations=1, lanes=1, memory_cost=64).derive(OPEN_SESAME.encode())
    sealed = AESGCM(derived).encrypt(nonce, key.to_bytes(), "\n".join(lines).encode())
    body = "\n".join(["# SECRET", *lines, f"key: {_b64(sealed)}"]) + "\n"
    return f"{body}checksum: {hashlib.sha256(body.encode()).hexdigest()[:16]}\n"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class KeyTarget(Target):
    """``Key.load`` with the right passphrase, a wrong one or none; ``read_fields``; ``inspect``."""

    name, share, codes = "key", 12, frozenset({2, 3})

    def __init__(self) -> None:
        from cipherlens.errors import CipherlensError
        from cipherlens.keys.keyfile import read_fields

        self._texts = {"cheap": make_cheap_file(self.key)}
        self._texts |= {name: (FORMATS / name).read_bytes().decode() for name in KEYS}
        self.seeds_kept, self._fields = len(self._texts), {}
        for name in KEYS:
            try:
                self._fields[name] = read_fields(FORMATS / name)
            except CipherlensError:  # the first inputs are the seeds: it is counted there
                self._fields[name] = None

    def make(self, rng: Random, number: int) -> Case:
        names = list(self._texts)
        seed = names[number] if number < len(names) else rng.choices(names, (40, 40, 1, 1, 5))[0]
        passphrase = rng.choices((OPEN_SESAME, None, "wrong"), (20, 4, 1))[0]
        facts = {"seed": seed, "passphrase": passphrase, "recomputed": False}
        if number < len(names):
            return Case({"key": self._texts[seed].encode()}, seed, facts | {"passphrase": OPEN_SESAME}, True)
        tree, note = self._mutate(rng, seed, facts)
        return Case(tree, f"{seed}: {note}, passphrase {passphrase}", facts, outside=self._texts[seed].encode())

    def _mutate(self, rng: Random, seed: str, facts: dict[str, Any]) -> tuple[Tree, str]:
        text, kind = self._texts[seed], rng.random()
        if kind < 0.01:
            tree, note = replace_node(rng, {"key": text.encode()}, "key")
            # A key file is the user's own, and may well be a pipe, which is waited for.
            return {path: b"" if isinstance(node, Pipe) else node for path, node in tree.items()}, note
        if kind < 0.3:
            other = self._texts[rng.choice(list(self._texts))].encode()
            content, note = mutate_bytes(rng, text.encode(), other)
            return {"key": content}, note
        facts["recomputed"] = rng.random() < 0.75
        changed, note = mutate_key_file(rng, text, facts["recomputed"])
        return {"key": changed.encode("utf-8", "surrogatepass")}, note

    def use(self, case: Case, root: Path) -> None:
        from cipherlens.cli.commands.owner.inspect import describe
        from cipherlens.errors import DataError
        from cipherlens.keys import Key
        from cipherlens.keys.keyfile import read_fields

        path, seed, passphrase = root / "key", case.facts["seed"], case.facts["passphrase"]
        with suppress(DataError):  # it may say that this is no key file
            describe(path)
        fields = read_fields(path)
        # Spliced into the whole of another key file it is that one.
        content = path.read_bytes()
        seed = next((name for name, text in self._texts.items() if text.encode() == content), seed)
        key = Key.load(path, passphrase, allow_open=True)  # who may read it is not what is altered
        if key != self.key:
            raise Altered("another key")
        if seed in _PLAIN or case.untouched:
            expected = None if case.facts["recomputed"] else self._fields.get(seed)
        else:
            expected = self._fields.get(seed)
            if passphrase != OPEN_SESAME:
                raise Altered("a protected key without its passphrase")
        if expected is not None and fields != expected:
            raise Altered("other fields, although the checksum or the passphrase protects them")
