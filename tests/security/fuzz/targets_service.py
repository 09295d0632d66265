"""What comes over the line: requests to a server, and answers to a client."""

import asyncio
import gzip
import json
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.security.fuzz.mutate_bytes import mutate_bytes
from tests.security.fuzz.mutate_json import mutate_json, to_text
from tests.security.fuzz.outcome import Misbehaved
from tests.security.fuzz.target import Case, Target

BODY, FACTS = "body", "facts.json"
LENGTH = "Inference-Header-Content-Length"
SHAPE = (3, 4, 4)
TOKEN = "clt_right"


def make_request(rng: Random, binary: bool) -> tuple[Any, bytes]:
    """The JSON of a good request, and the bytes behind it."""
    count = rng.randrange(1, 4)
    images = np.random.default_rng(rng.randrange(9)).random((count, *SHAPE), np.float32)
    tensor: dict[str, Any] = {"name": "images", "shape": list(images.shape), "datatype": "FP32"}
    data = images.tobytes() if binary else b""
    tensor |= {"parameters": {"binary_data_size": len(data)}} if binary else {"data": images.reshape(-1).tolist()}
    outputs = [{"name": "logits", "parameters": {"binary_data": binary}}]
    return {"id": "a", "parameters": {"cipher": "hill"}, "inputs": [tensor], "outputs": outputs}, data


class RequestTarget(Target):
    """A server's application: it answers 200 to whom may ask, and what is wrong is refused, never with 5xx."""

    name, share = "request", 8

    def __init__(self) -> None:
        from cipherlens.service import batching  # noqa: F401 (it loads torch, which is large: not within a case)

        self._loop: asyncio.AbstractEventLoop | None = None
        self.seeds_kept = 2

    def make(self, rng: Random, number: int) -> Case:
        content, data = make_request(rng, bool(number % 2))
        headers, token, note = dict[str, str](), TOKEN, "a request"
        untouched = number < self.seeds_kept
        kind = 1.0 if untouched else rng.random()
        if kind < 0.5:
            content, note = mutate_json(rng, content)
        text = json.dumps(content).encode() if untouched or rng.random() < 0.5 else to_text(rng, content).encode()
        if data or rng.random() < 0.1:
            headers[LENGTH] = str(len(text))
        body = text + data
        if 0.4 < kind < 0.9:
            body, note = mutate_bytes(rng, body, body)
        if not untouched and rng.random() < 0.1:
            name, pack = rng.choice((("gzip", gzip.compress), ("deflate", zlib.compress), ("br", bytes)))
            headers["content-encoding"], body = name, pack(body)
        if not untouched and rng.random() < 0.15:
            headers[LENGTH] = rng.choice(("-1", "0", "", "1e3", "9" * 30, str(rng.randrange(len(body) + 9)), "٣"))
        if not untouched and rng.random() < 0.2:
            token = rng.choice(("", "clt_wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper()))
        facts = {"headers": headers, "token": token, "model": rng.choice(("sum", "sum", "sum", "other", "a/b"))}
        if untouched:
            facts["model"] = "sum"
        return Case({BODY: body, FACTS: json.dumps(facts).encode()}, note, untouched=untouched)

    def use(self, case: Case, root: Path) -> None:
        from cipherlens.errors import DataError

        facts = json.loads((root / FACTS).read_bytes())
        status, content = self._ask(facts, (root / BODY).read_bytes())
        right = facts["token"] == TOKEN
        if status >= 500 or (status == 200 and not right) or b"Traceback" in content:
            raise Misbehaved(f"answered {status}: {content[:200]!r}")
        if status != 200:
            if list(json.loads(content)) != ["error"]:
                raise Misbehaved(f"a refusal without a reason: {content[:200]!r}")
            raise DataError(f"{status}")

    def _ask(self, facts: dict[str, Any], body: bytes) -> tuple[int, bytes]:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.run_until_complete(self._start())
        return self._loop.run_until_complete(self._send(facts, body))

    async def _start(self) -> None:
        import httpx

        from cipherlens.service.app import Server, create_app
        from cipherlens.service.batching import Limits
        from cipherlens.service.contract import Contract
        from cipherlens.service.models import ServedModel
        from cipherlens.service.tokens import Guard, Token, hash_token

        def add_up(images: Any) -> Any:
            return images.astype(np.float32).mean((1, 2, 3))[:, None].repeat(2, 1)

        class OneToken(Guard):
            def _load(self) -> list[Token]:
                return [Token("a", hash_token(TOKEN))]

        contract = Contract("sum", SHAPE, "float32", ("a", "b"), {"cipher": "hill"})
        server = Server(
            {"sum": ServedModel(contract, add_up)}, Limits(wait=0, body=1 << 20), OneToken(Path("none"))
        )
        app = create_app(server)
        self._life = server.run(app)
        await self._life.__aenter__()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://a", trust_env=False)

    async def _send(self, facts: dict[str, Any], body: bytes) -> tuple[int, bytes]:
        headers = [(name.encode(), value.encode()) for name, value in facts["headers"].items()]
        if facts["token"]:
            headers.append((b"authorization", b"Bearer " + facts["token"].encode()))
        answer = await self._client.post(f"/v2/models/{facts['model']}/infer", content=body, headers=headers)
        return answer.status_code, answer.content


class AnswerTarget(Target):
    """What a client makes of a server's words: it seals under its own scheme, or not at all."""

    name, share = "answer", 4
    codes = frozenset({3, 4})

    def __init__(self) -> None:
        self.seeds_kept = 1

    def _make_facts(self) -> dict[str, Any]:
        scheme = {"cipher": "hill", "params": {"block": 2, "orthogonal": False}, "size": None, "pad": False}
        shapes = {"plain_shape": list(SHAPE), "padded_shape": list(SHAPE), "window": None}
        facts: dict[str, Any] = {
            "scheme": {**scheme, **shapes, "key_fingerprint": self.key.fingerprint},
            "classes": ["a", "b"],
        }
        facts |= {"model_id": "x", "max_images": 9}
        output = {"name": "probabilities", "shape": [2, 2], "datatype": "FP32", "data": [0.1, 0.9, 0.8, 0.2]}
        return {"metadata": {"name": "sum", "parameters": facts}, "answer": {"id": "a", "outputs": [output]}}

    def make(self, rng: Random, number: int) -> Case:
        facts, note = self._make_facts(), "an answer"
        if number >= self.seeds_kept:
            facts, note = mutate_json(rng, facts)
        text = (to_text(rng, facts) if number >= self.seeds_kept else json.dumps(facts)).encode()
        if number >= self.seeds_kept and rng.random() < 0.3:
            text, note = mutate_bytes(rng, text, text)
        return Case({FACTS: text}, note, untouched=number < self.seeds_kept)

    def use(self, case: Case, root: Path) -> None:
        from cipherlens.client.sealing import choose_sealer
        from cipherlens.client.wire import read_answer
        from cipherlens.data.images import Item
        from cipherlens.data.sealed.spec import CipherSpec
        from cipherlens.errors import DataError

        pinned = CipherSpec.from_json(self._make_facts()["metadata"]["parameters"]["scheme"])
        try:
            facts = json.loads((root / FACTS).read_bytes())
            metadata, answer = facts["metadata"], facts["answer"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DataError("no JSON, which httpx says") from None
        sealer = choose_sealer(metadata, self.key, pinned)
        sealed = sealer.seal([Item(name, -1, np.zeros(SHAPE, np.uint8)) for name in "ab"])
        wanted = pinned.bind(self.key).encrypt(np.zeros((2, *SHAPE), np.uint8))
        if not np.array_equal(sealed, wanted):
            raise Misbehaved("sealed in another way than the client's own")
        found = read_answer(json.dumps(answer).encode(), None, "a", 2)
        for answered in sealer.rank(["a", "b"], found):
            if len(answered.probabilities) != len(sealer.classes):
                raise Misbehaved("not one number for each class")
