"""The Open Inference Protocol as its official client speaks it, and what a server refuses."""

import gzip
import json
import socket
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from cipherlens.data.statistics import Statistics
from cipherlens.service.batching import Limits
from cipherlens.service.tokens import Guard, create_token, read_tokens, revoke_token
from tests.service.conftest import SHAPE, add_up, running, serve_model

LENGTH = "Inference-Header-Content-Length"


def ask(images: np.ndarray, **more: Any) -> dict[str, Any]:
    tensor = {
        "name": "images",
        "shape": list(images.shape),
        "datatype": "FP32",
        "data": images.reshape(-1).tolist(),
    }
    return {"inputs": [tensor | more.pop("tensor", {})], **more}


def post(client: httpx.Client, content: Any, model: str = "sum", **more: Any) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return client.post(f"/v2/models/{model}/infer", content=body, **more)


def binary(images: np.ndarray, datatype: str = "FP32", size: int | None = None) -> tuple[bytes, dict[str, str]]:
    data = images.tobytes()
    tensor = {"name": "images", "shape": list(images.shape), "datatype": datatype}
    tensor["parameters"] = {"binary_data_size": len(data) if size is None else size}
    text = json.dumps({"inputs": [tensor]}).encode()
    return text + data, {LENGTH: str(len(text))}


@pytest.mark.parametrize("as_bytes", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_the_official_client(images: np.ndarray, as_bytes: bool, compression: str | None) -> None:
    with running(serve_model()) as client:
        theirs = triton.InferenceServerClient(f"127.0.0.1:{client.base_url.port}")
        assert theirs.is_server_live() and theirs.is_server_ready() and theirs.is_model_ready("sum", "1")
        assert "binary_tensor_data" in theirs.get_server_metadata()["extensions"]
        metadata = theirs.get_model_metadata("sum")
        assert metadata["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, *SHAPE]}]
        tensor = triton.InferInput("images", list(images.shape), "FP32")
        tensor.set_data_from_numpy(images, binary_data=as_bytes)
        wanted = [triton.InferRequestedOutput("logits", binary_data=as_bytes)]
        answer = theirs.infer(
            "sum", [tensor], outputs=wanted, request_id="7", request_compression_algorithm=compression
        )
        assert np.allclose(answer.as_numpy("logits"), add_up(images), rtol=1e-6)
        assert answer.get_response()["id"] == "7" and answer.as_numpy("probabilities") is None
        everything = theirs.infer("sum", [tensor])
        assert np.allclose(everything.as_numpy("probabilities").sum(1), 1)


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32"])
def test_datatypes(datatype: str, images: np.ndarray) -> None:
    """16 bits are widened without rounding."""
    short = images.astype(np.float16)
    sent: np.ndarray = {"FP16": short, "FP32": images}.get(
        datatype, (images.view(np.uint32) >> 16).astype(np.uint16)
    )
    seen = {"FP16": short.astype(np.float32), "FP32": images}
    seen["BF16"] = ((images.view(np.uint32) >> 16) << 16).view(np.float32)
    body, headers = binary(sent, datatype)
    with running(serve_model()) as client:
        answer = post(client, body, headers=headers).json()
    assert np.allclose(answer["outputs"][0]["data"], add_up(seen[datatype]).reshape(-1), rtol=1e-6)


def test_whole_numbers(images: np.ndarray) -> None:
    pixels = (images * 255).astype(np.uint8)
    asked = ask(pixels, tensor={"datatype": "UINT8"})
    with running(serve_model(dtype="uint8")) as client:
        assert np.allclose(post(client, asked).json()["outputs"][0]["data"], add_up(pixels).reshape(-1), rtol=1e-6)
        for wrong in (256, -1, 0.5, None, True, "a"):
            asked["inputs"][0]["data"][3] = wrong
            assert post(client, asked).status_code in (400, 422)
        assert post(client, ask(images)).status_code == 422


def test_what_is_refused(images: np.ndarray) -> None:
    body, headers = binary(images)
    cut = {LENGTH: str(len(body) + 1)}
    nan = images.copy()
    nan[2, 0, 0, 0] = np.nan
    scheme = {"cipher": "hill", "key_fingerprint": "0" * 32}
    cases: list[tuple[int, Any, dict[str, str]]] = [
        (400, b"", {}),
        (400, b"{", {}),
        (400, b"[" * 100_000, {}),
        (400, body, {}),
        (400, body, cut),
        (400, body, {LENGTH: "-1"}),
        (400, body, {LENGTH: "9" * 400}),
        (400, body[:-1], headers),
        (400, body + b"x", headers),
        (400, *binary(images, size=3)),
        (400, ask(images, tensor={"shape": [6, *SHAPE]}), {}),
        (422, ask(images, tensor={"shape": [2**31, 2**31, 2**31, 3]}), {}),
        (400, ask(images, tensor={"data": ["0.5"] * images.size}), {}),
        (400, ask(images, tensor={"data": [[]] * images.size}), {}),
        (409, ask(images, parameters={"model_id": "0" * 64}), {}),
        (400, ask(images, tensor={"data": [[1, 2], [3]]}), {}),
        (400, ask(images, tensor={"data": {"a": 1}}), {}),
        (400, ask(images, tensor={"datatype": "FP16"}), {}),
        (422, ask(images, tensor={"datatype": "INT64"}), {}),
        (422, ask(images, tensor={"name": "pictures"}), {}),
        (422, ask(images[:, :1]), {}),
        (422, ask(images[:0]), {}),
        (422, ask(images, outputs=[{"name": "mask"}]), {}),
        (422, {"inputs": ask(images)["inputs"] * 2}, {}),
        (422, *binary(nan)),
        (409, ask(images, parameters={"key_fingerprint": "1" * 32}), {}),
        (409, ask(images, parameters={"cipher": "etc"}), {}),
        (413, ask(images[:1].repeat(40, 0)), {}),
        (415, body, {"content-encoding": "br"}),
        (400, body, {"content-encoding": "gzip"}),
        (400, gzip.compress(body)[:-9], headers | {"content-encoding": "gzip"}),
        (413, gzip.compress(bytes(50 << 20)), {"content-encoding": "gzip"}),
        (413, zlib.compress(bytes(50 << 20)), {"content-encoding": "deflate"}),
        (413, bytes(2 << 20), {}),
    ]
    with running(serve_model(scheme=scheme), limits=Limits(body=1 << 20, queue=32)) as client:
        for status, content, more in cases:
            answer = post(client, content, headers=more)
            assert answer.status_code == status, (
                content[:80] if isinstance(content, bytes) else content,
                answer.text,
            )
            assert list(answer.json()) == ["error"] and "Traceback" not in answer.text
        assert post(client, body, "other", headers=headers).status_code == 404
        assert client.post("/v2/models/sum/versions/2/infer", content=body).status_code == 404
        assert list(client.get("/nowhere").json()) == ["error"]
        assert post(client, body, headers=headers).status_code == 200


def test_plain_photos_are_noticed() -> None:
    rng = np.random.default_rng(0)
    rough = rng.random((2, *SHAPE), np.float32)
    smooth = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8).repeat(3, axis=1)
    with running(serve_model(statistics=Statistics(0.8, 0, 1), scheme={"cipher": "hill"})) as client:
        assert post(client, ask(rough)).status_code == 200
        answer = post(client, ask(np.concatenate([rough, smooth])))
        assert answer.status_code == 422 and "image 2 is smooth" in answer.json()["error"]
        assert post(client, ask(smooth, parameters={"allow_plain": True})).status_code == 200


def test_tokens(images: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    good, other = create_token(file, "hospital"), create_token(file, "shop", ("till",))
    assert good not in file.read_text() and [token.name for token in read_tokens(file)] == ["hospital", "shop"]
    body, headers = binary(images)

    def status(client: httpx.Client, secret: str | None) -> int:
        word = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        return post(client, body, headers=headers | word).status_code

    with running(serve_model(), guard=Guard(file)) as client:
        for secret in (None, "x", good[:-1], good + "x"):
            assert status(client, secret) == 401
        assert (status(client, good), status(client, other)) == (200, 403)
        for place in ("/v2/models/sum", "/v2/models/sum/ready", "/metrics"):
            assert client.get(place).status_code == 401
        revoke_token(file, "hospital")
        assert status(client, good) == 401
        slow = create_token(file, "slow", rate=2)
        seen = [status(client, slow) for _ in range(6)]
        assert seen[:2] == [200, 200] and 429 in seen


def test_a_token_ends(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    secret = create_token(file, "a", days=1)
    assert Guard(file).find(secret) is not None
    file.write_text(file.read_text().replace(read_tokens(file)[0].expires, "2020-01-01T00:00:00Z"))
    assert Guard(file).find(secret) is None


def test_waiting_requests_are_computed_together(images: np.ndarray) -> None:
    sizes: list[int] = []

    def slow(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        time.sleep(0.1)
        return add_up(batch)

    body = [binary(images[i : i + 1]) for i in range(5)]
    with running(serve_model(slow), limits=Limits(batch=4)) as client, ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda i: post(client, body[i % 5][0], headers=body[i % 5][1]).json(), range(20)))
    for i, answer in enumerate(found):
        assert np.allclose(answer["outputs"][0]["data"], add_up(images[i % 5 : i % 5 + 1])[0], rtol=1e-6)
    assert sum(sizes) == 20 and max(sizes) == 4 and len(sizes) < 12


def test_overload_is_refused_at_once(images: np.ndarray) -> None:
    def slow(batch: np.ndarray) -> np.ndarray:
        time.sleep(0.3)
        return add_up(batch)

    body, headers = binary(images[:1])

    def time_one(client: httpx.Client) -> tuple[int, float, str]:
        started = time.perf_counter()
        answer = post(client, body, headers=headers)
        return answer.status_code, time.perf_counter() - started, answer.headers.get("retry-after", "")

    with running(serve_model(slow), limits=Limits(batch=1, queue=2)) as client, ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: time_one(client), range(12)))
        text = client.get("/metrics").text
    accepted = [seconds for status, seconds, _ in found if status == 200]
    refused = [(seconds, again) for status, seconds, again in found if status == 429]
    assert len(accepted) + len(refused) == 12 and refused and len(accepted) >= 3
    assert all(again == "1" for _, again in refused)
    assert max(seconds for seconds, _ in refused) < min(0.3, max(accepted))
    assert f'cipherlens_refused_total{{reason="overload"}} {len(refused)}.0' in text


def test_who_goes_away_is_not_computed(images: np.ndarray) -> None:
    seen: list[int] = []

    def slow(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        time.sleep(0.3)
        return add_up(batch)

    body, headers = binary(images)
    with running(serve_model(slow), limits=Limits(batch=5)) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, client, body, headers=headers)
        time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as line:
            head = f"POST /v2/models/sum/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
            line.sendall(f"{head}{LENGTH}: {headers[LENGTH]}\r\n\r\n".encode() + body)
            time.sleep(0.05)
        assert first.result().status_code == 200
        assert post(client, body, headers=headers).status_code == 200
    assert len(seen) == 2


def test_a_slow_model_and_a_failing_one(images: np.ndarray) -> None:
    def slow(batch: np.ndarray) -> np.ndarray:
        time.sleep(1)
        return add_up(batch)

    def fail(batch: np.ndarray) -> np.ndarray:
        raise RuntimeError("/secret/path")

    body, headers = binary(images)
    models = (serve_model(slow, "slow"), serve_model(fail, "fail"), serve_model())
    with running(*models, limits=Limits(seconds=0.2)) as client:
        assert post(client, body, "slow", headers=headers).status_code == 504
        answer = post(client, body, "fail", headers=headers)
        assert answer.status_code == 500 and "secret" not in answer.text
        assert post(client, body, headers=headers).status_code == 200


def test_numbers_in_lists_as_deep_as_the_shape(images: np.ndarray) -> None:
    asked = ask(images, tensor={"data": images.tolist()})
    with running(serve_model()) as client:
        assert np.allclose(post(client, asked).json()["outputs"][0]["data"], add_up(images).reshape(-1), rtol=1e-6)


def test_what_a_model_cannot_answer(images: np.ndarray) -> None:
    """Values that no ciphertext has, logits that are no numbers, and too few of them."""
    far = images * 1e20
    models = (
        serve_model(name="ranged", statistics=Statistics(0, 0, 1), scheme={"cipher": "hill"}),
        serve_model(lambda batch: np.full((len(batch), 2), np.nan, np.float32), "nan"),
        serve_model(lambda batch: add_up(batch)[:1], "few"),
    )
    with running(*models) as client:
        for name, sent, status in (("ranged", far, 422), ("ranged", images, 200), ("nan", images, 422)):
            body, headers = binary(sent)
            assert post(client, body, name, headers=headers).status_code == status
        assert post(client, body, "few", headers=headers).status_code == 500
        assert client.get("/v2/health/ready").status_code == 200


def test_a_large_request_is_computed_in_parts(images: np.ndarray) -> None:
    sizes: list[int] = []

    def compute(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return add_up(batch)

    many = images.repeat(7, axis=0)
    body, headers = binary(many)
    with running(serve_model(compute), limits=Limits(batch=4)) as client:
        found = post(client, body, headers=headers).json()["outputs"][0]["data"]
    assert np.allclose(found, add_up(many).reshape(-1), rtol=1e-6)
    assert max(sizes) == 4 and sum(sizes) == 35


def test_packed_nonsense_is_refused_at_once(images: np.ndarray) -> None:
    """Small when packed, huge when read: other requests do not wait for it."""
    floods = [b"[" + b"[]," * 5_000_000 + b"[]]", b"[" + b"0," * 8_000_000 + b"0]"]
    with running(serve_model()) as client:
        for flood in floods:
            asked = ask(images)
            asked["inputs"][0]["data"] = "@"
            content = gzip.compress(json.dumps(asked).encode().replace(b'"@"', flood))
            started = time.perf_counter()
            assert post(client, content, headers={"content-encoding": "gzip"}).status_code == 400
            assert time.perf_counter() - started < 2


def test_who_leaves_the_queue_leaves_room(images: np.ndarray) -> None:
    def slow(batch: np.ndarray) -> np.ndarray:
        time.sleep(0.6)
        return add_up(batch)

    body, headers = binary(images[:1])
    head = f"POST /v2/models/sum/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
    asked = f"{head}{LENGTH}: {headers[LENGTH]}\r\n\r\n".encode() + body
    with running(serve_model(slow), limits=Limits(batch=1, queue=3)) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, client, body, headers=headers)
        time.sleep(0.1)
        lines = [socket.create_connection(("127.0.0.1", client.base_url.port)) for _ in range(3)]
        for line in lines:
            line.sendall(asked)
        time.sleep(0.1)
        assert post(client, body, headers=headers).status_code == 429
        for line in lines:
            line.close()
        time.sleep(0.1)
        assert post(client, body, headers=headers).status_code == 200
        assert first.result().status_code == 200


def test_a_damaged_file_of_tokens_lets_nobody_in(images: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    secret = create_token(file, "a")
    whole, (body, headers) = file.read_bytes(), binary(images)
    headers |= {"Authorization": f"Bearer {secret}"}
    with running(serve_model(), guard=Guard(file)) as client:
        for content, status in ((whole[:-9], 401), (whole, 200), (b"", 401)):
            file.write_bytes(content)
            assert post(client, body, headers=headers).status_code == status
        file.unlink()
        assert post(client, body, headers=headers).status_code == 401
    other = create_token(tmp_path / "b.json", "till", ("till",))
    with running(serve_model(), guard=Guard(tmp_path / "b.json")) as client:
        assert client.get("/metrics", headers={"Authorization": f"Bearer {other}"}).status_code == 403


def test_half_a_body(images: np.ndarray) -> None:
    with running(serve_model()) as client:
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as line:
            line.sendall(b"POST /v2/models/sum/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n{")
        body, headers = binary(images)
        assert post(client, body, headers=headers).status_code == 200
