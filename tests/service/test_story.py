"""The line between client and provider: TLS, tokens, every kind of model, faults, and every byte that was sent."""

import datetime
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from PIL import Image

import cipherlens as cl
from cipherlens.client import AsyncClient, Client, asking
from cipherlens.client.line import describe_line
from cipherlens.service.contract import Contract
from cipherlens.service.models import ServedModel, open_models
from cipherlens.service.tokens import create_token
from tests.integrations.conftest import HILL, KEY
from tests.security.secrets.needles import encode_cipher, encode_secret
from tests.security.secrets.search import Finder
from tests.service.conftest import find_port, process, running, serve_model, wait_until_ready

PHOTOS = 40


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Smooth pictures as PNG files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(7)
    for number in range(PHOTOS):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{number:02d}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself: ``cert.pem``, ``key.pem``."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")]),
    )
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path / "tls"
    folder.mkdir()
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder


def decide(place: str, photos: list[Path], key: cl.Key | None = None) -> np.ndarray:
    """Classes of the sealed photos, in this process."""
    model = open_models([place], key)[Path(place).stem]
    pixels = np.stack([np.asarray(Image.open(photo)).transpose(2, 0, 1) for photo in photos])
    name, params = model.contract.scheme["cipher"], model.contract.scheme["params"]
    sealed = cl.create_cipher(name, **params).bind(KEY, (3, 32, 32)).encrypt(pixels)
    return np.array(model.contract.classes)[model.compute(np.asarray(sealed)).argmax(1)]


@contextmanager
def recording(port: int) -> Iterator[tuple[int, bytearray]]:
    """A port that passes everything on to ``port``, and all bytes that the client has sent."""
    seen = bytearray()
    listener = socket.create_server(("127.0.0.1", 0))

    def pass_on(source: socket.socket, sink: socket.socket, keep: bool) -> None:
        try:
            while part := source.recv(1 << 16):
                if keep:
                    seen.extend(part)
                sink.sendall(part)
        except OSError:
            pass
        finally:
            sink.close()

    def accept() -> None:
        while True:
            try:
                ours, _ = listener.accept()
            except OSError:
                return
            theirs = socket.create_connection(("127.0.0.1", port))
            for arguments in ((ours, theirs, True), (theirs, ours, False)):
                threading.Thread(target=pass_on, args=arguments, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1], seen
    listener.close()


def test_the_story(runs: Path, photos: list[Path], authority: Path, tmp_path: Path, call: Any) -> None:
    """Four kinds of models in a server process, over TLS, with a token; the same decisions as in this process."""
    KEY.save(tmp_path / "client.key")
    cl.export(runs / "run", tmp_path / "exported.onnx")
    places = [
        str(runs / "run"),
        str(runs / "run-locked"),
        str(runs / "run-folded"),
        str(tmp_path / "exported.onnx"),
    ]
    disk = tmp_path / "disk"  # of the server
    disk.mkdir()
    token, port, log = create_token(disk / "tokens.json", "hospital"), find_port(), disk / "log"
    line = ("--port", port, "--tls-cert", authority / "cert.pem", "--tls-key", authority / "key.pem")
    with process(*places, *line, "--tokens", disk / "tokens.json", "--key", tmp_path / "client.key", log=log):
        url, ca = f"https://127.0.0.1:{port}", authority / "cert.pem"
        with httpx.Client(base_url=url, verify=describe_line(url, None, ca, None)["verify"]) as web:
            wait_until_ready(web)
        for place in places:
            wanted = decide(place, photos, KEY)
            with Client(url, key=KEY, model=Path(place).stem, token=token, ca=ca, batch=7) as client:
                found = client.classify(photos)
            assert [answer.name for answer in found] == [str(photo) for photo in photos]
            assert [answer.label for answer in found] == wanted.tolist()
        with pytest.raises(cl.CipherlensError, match="401"), Client(url, key=KEY, model="run", ca=ca) as client:
            client.classify(photos)
        with (
            pytest.raises(cl.CipherlensError, match="cannot be reached"),
            Client(url, key=KEY, model="run") as client,
        ):
            client.classify(photos)
        (tmp_path / "token").write_text(token + "\n")
        options = ("--key", tmp_path / "client.key", "--ca", ca, "--token-file", tmp_path / "token", "--json")
        mine = ("--sealed", runs / "hill-set")
        code, out, err = call("query", url, tmp_path / "photos", *options, *mine, "--out", tmp_path / "answers")
        assert code == 0, err
        answers = json.loads(out)["predictions"]
        labels = [max(answers[str(photo)], key=answers[str(photo)].get) for photo in photos]
        assert labels == decide(places[0], photos).tolist()
    # All is answered: the second time no server is needed. A line that was cut off is asked for again.
    assert call("query", url, tmp_path / "photos", *options, "--out", tmp_path / "answers")[1] == out
    assert KEY.fingerprint not in log.read_text()
    rows = {row.tobytes(): "a row of a photo" for photo in photos for row in np.asarray(Image.open(photo))[8:24:8]}
    secrets = encode_secret(KEY.to_bytes(), "the key") | {token.encode(): "the token"} | rows
    finder = Finder(secrets | encode_cipher(HILL.bind(KEY, (3, 32, 32))))
    for folder in (disk, runs / "run", runs / "run-locked"):
        assert not finder.search_files(folder)
    (disk / "leak").write_text(KEY.to_bytes().hex())
    assert list(finder.search_files(disk)) == ["leak"]


def test_asynchronous_code(runs: Path, photos: list[Path]) -> None:
    import asyncio

    async def ask(url: str) -> list[str]:
        async with AsyncClient(url, key=KEY, model="run") as client:
            return [answer.label for answer in await client.classify([np.asarray(Image.open(p)) for p in photos])]

    with running(open_models([str(runs / "run")])["run"]) as web:
        assert asyncio.run(ask(str(web.base_url))) == decide(str(runs / "run"), photos).tolist()


def test_no_key_and_no_photo_is_on_the_line(runs: Path, photos: list[Path]) -> None:
    """Every byte that the client sends is searched; a client that sends photos is found (the positive control)."""
    pixels = [np.asarray(Image.open(photo)).transpose(2, 0, 1) for photo in photos]
    rows = {image[0, row].tobytes(): "a row of a photo" for image in pixels for row in (8, 16)}
    rows |= {(image[0, 16] / np.float32(255)).astype(np.float32).tobytes(): "a row" for image in pixels}
    tables = encode_cipher(HILL.bind(KEY, (3, 32, 32)))
    finder = Finder(encode_secret(KEY.to_bytes(), "the key") | tables | rows)
    with running(open_models([str(runs / "run")])["run"]) as web, recording(web.base_url.port) as (port, seen):
        with Client(f"http://127.0.0.1:{port}", key=KEY, model="run") as client:
            assert len(client.classify(photos)) == PHOTOS
        assert len(seen) > PHOTOS * 3 * 32 * 32 * 4
        assert not finder.search(bytes(seen))
        figures = web.get("/metrics").content
        assert not finder.search(figures) and KEY.fingerprint.encode() not in figures
        httpx.post(f"http://127.0.0.1:{port}/v2", content=b"".join(image.tobytes() for image in pixels))
        time.sleep(0.2)
        assert finder.search(bytes(seen)) == {"a row of a photo"}


UNTOUCHED = ("identity", "identity twice", "one block")
LIES: dict[str, dict[str, Any]] = {
    "identity": {"cipher": "identity", "params": {}},
    "identity twice": {"cipher": "compose", "params": {"ciphers": [{"name": "identity"}, {"name": "identity"}]}},
    "one block": {"cipher": "block-scrambling", "params": {"block": 32}},
    "another cipher": {"cipher": "pixel-permutation", "params": {}},
    "another block": {"params": {"block": 2, "orthogonal": False}},
    "another size": {"plain_shape": [3, 16, 16], "padded_shape": [3, 16, 16], "size": 16},
    "another key": {"key_fingerprint": "0" * 32},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_gets_nothing(lie: str, runs: Path, photos: list[Path]) -> None:
    """A server that asks for another scheme than the client's own learns nothing of the photos."""
    scheme = cl.SealedDataset.open(runs / "hill-set").spec.to_json() | LIES[lie]
    asked: list[np.ndarray] = []

    def listen(images: np.ndarray) -> np.ndarray:
        asked.append(images)
        return np.zeros((len(images), 2), np.float32)

    model = serve_model(listen, "run", scheme=scheme)
    with running(model) as web:
        url = str(web.base_url)
        with (
            pytest.raises(cl.CipherlensError, match=r"nothing was sent|is for key"),
            Client(url, key=KEY, model="run", scheme=runs / "hill-set") as client,
        ):
            client.classify(photos)
        if lie in (*UNTOUCHED, "another key"):  # refused without a scheme of one's own, too
            with pytest.raises(cl.CipherlensError), Client(url, key=KEY, model="run") as client:
                client.classify(photos)
    assert not asked


def test_a_server_that_is_killed(
    runs: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 in the middle, and a new server: each photo is answered, once, and rightly."""
    monkeypatch.setattr(asking, "_ATTEMPTS", 200)
    monkeypatch.setattr(asking, "_LONGEST_PAUSE", 0.5)
    port, log = find_port(), tmp_path / "log"
    arguments = (runs / "run", "--port", port, "--max-batch", 1)
    url = f"http://127.0.0.1:{port}"
    with Client(url, key=KEY, model="run", batch=1) as client, ThreadPoolExecutor(1) as pool:
        with process(*arguments, log=log) as server:
            with httpx.Client(base_url=url) as web:
                wait_until_ready(web)
            answers = pool.submit(client.classify, photos * 5)
            time.sleep(0.3)
            server.kill()
        assert not answers.done()
        with process(*arguments, log=log):
            found = answers.result(120)
    assert [answer.label for answer in found] == decide(str(runs / "run"), photos).tolist() * 5


def test_a_model_that_changes(runs: Path, photos: list[Path]) -> None:
    """Under the same name, with its classes in another order: the client notices, and asks the new one."""
    scheme = cl.SealedDataset.open(runs / "hill-set").spec.to_json()

    def compute(images: np.ndarray) -> np.ndarray:
        return np.tile(np.float32([5, 0]), (len(images), 1))

    def make(*classes: str) -> Any:
        contract = Contract("run", (3, 32, 32), "float32", classes, scheme)
        return ServedModel(contract, compute)

    with running(make("cat", "dog")) as web, Client(str(web.base_url), key=KEY, model="run") as client:
        assert {answer.label for answer in client.classify(photos)} == {"cat"}
        web.server.models["run"] = make("dog", "cat")
        assert {answer.label for answer in client.classify(photos)} == {"dog"}


def test_answers_are_not_mixed(runs: Path, photos: list[Path], tmp_path: Path, call: Any) -> None:
    """Another model, another photo under an old name, a line that was cut off, a missing folder."""
    KEY.save(tmp_path / "client.key")
    out, options = tmp_path / "answers", ("--key", tmp_path / "client.key", "--json")
    models = open_models([f"run={runs / 'run'}", f"other={runs / 'run'}"])
    with running(*models.values()) as web:
        url = str(web.base_url)

        def ask(*more: object) -> tuple[int, Any, str]:
            code, text, err = call("query", url, *photos[:4], *options, *more)
            return code, json.loads(text)["predictions"] if code == 0 else None, err

        code, first, err = ask("--out", out)
        assert code == 0 and len(out.read_text().splitlines()) == 5, err
        assert ask("--out", out, "--model", "other")[0] == 2
        assert ask("--out", out, "--top", 1)[0] == 2
        elsewhere = call("query", "http://127.0.0.1:1", *photos[:4], *options, "--out", out)
        assert elsewhere[0] == 2 and "another question" in elsewhere[2]
        out.write_text(out.read_text()[:-9])
        photos[0].write_bytes(photos[7].read_bytes())
        code, again, _ = ask("--out", out)
        assert again == ask()[1] and [again[str(photo)] for photo in photos[1:4]] == [
            first[str(photo)] for photo in photos[1:4]
        ]
        assert ask("--out", tmp_path / "nowhere" / "answers")[0] == 4
        (tmp_path / "other").write_text("mine\n")
        assert ask("--out", tmp_path / "other")[0] == 4 and (tmp_path / "other").read_text() == "mine\n"


@pytest.mark.parametrize("token", ["clt_SECRET\nx", "", "clt_SECRETü", "a b"])
def test_tokens_that_are_none_are_not_shown(token: str) -> None:
    with pytest.raises(cl.CipherlensError, match="the token") as caught:
        Client("http://127.0.0.1:1", key=KEY, token=token)
    assert "SECRET" not in str(caught.value)


def say(status: int, headers: dict[str, str], body: bytes) -> httpx.MockTransport:
    """A server that says always the same."""
    return httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, stream=httpx.ByteStream(body)))


def test_servers_that_mean_ill(photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless pauses, deep JSON, answers without end: an error, soon."""
    monkeypatch.setattr(asking, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(asking, "_LONGEST_WISH", 0.001)
    monkeypatch.setattr(asking, "_ANSWER_BYTES", 1 << 20)
    for status, headers, body in (
        (429, {"Retry-After": "86400000"}, b"{}"),
        (429, {"Retry-After": "9" * 400}, b"{}"),
        (200, {}, b"[" * 100_000),
        (400, {}, b"[" * 100_000),
        (200, {}, bytes(2 << 20)),
        (200, {"Content-Encoding": "gzip"}, b"no gzip"),
        (200, {}, b"{}"),
    ):
        client = Client("http://127.0.0.1:1", key=KEY)
        client._http = httpx.Client(transport=say(status, headers, body), base_url="http://a")
        with pytest.raises(cl.CipherlensError):
            client.classify(photos[:1])


def test_clients_certificates(
    runs: Path, authority: Path, tmp_path: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, files = find_port(), (authority / "cert.pem", authority / "key.pem")
    line = ("--port", port, "--tls-cert", files[0], "--tls-key", files[1], "--client-ca", files[0])
    url, mine = f"https://127.0.0.1:{port}", (str(files[0]), str(files[1]))
    with process(runs / "run", *line, log=tmp_path / "log"):
        with Client(url, key=KEY, model="run", ca=files[0], certificate=mine) as client:
            assert len(client.classify(photos[:2])) == 2
        monkeypatch.setattr(asking, "_FIRST_PAUSE", 0.001)
        with pytest.raises(cl.CipherlensError), Client(url, key=KEY, model="run", ca=files[0]) as client:
            client.classify(photos[:2])


def test_what_a_server_refuses_to_start_with(runs: Path, tmp_path: Path, call: Any) -> None:
    KEY.save(tmp_path / "client.key")
    cases: list[tuple[int, str, tuple[object, ...]]] = [
        (2, "without TLS", (runs / "run", "--host", "0.0.0.0")),
        (2, "give both", (runs / "run", "--tls-cert", tmp_path / "client.key")),
        (2, "there is no file", (runs / "run", "--tls-cert", tmp_path / "a", "--tls-key", tmp_path / "b")),
        (3, "locked with key", (runs / "run-locked",)),
        (2, "names two models", (runs / "run", runs / "run")),
        (4, "cannot read", (runs / "run", "--tokens", tmp_path / "nowhere")),
        (4, "no model to serve", (tmp_path / "a.onnx",)),
        (4, "", (tmp_path / "nowhere",)),
    ]
    (tmp_path / "a.onnx").write_bytes(b"onnx")
    for code, said, arguments in cases:
        found, _, err = call("serve", *arguments)
        assert (found, said in err) == (code, True), err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = call("serve", runs / "run", "--port", taken.getsockname()[1])
        assert code == 2 and "choose another port" in err


def test_a_client_gives_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: list[Path], call: Any) -> None:
    monkeypatch.setattr(asking, "_FIRST_PAUSE", 0.001)
    KEY.save(tmp_path / "client.key")
    url = f"http://127.0.0.1:{find_port()}"
    code, _, err = call("query", url, photos[0], "--key", tmp_path / "client.key")
    assert (code, "cannot be reached" in err) == (1, True)
    with pytest.raises(cl.CipherlensError, match="unencrypted"):
        Client("http://example.org", key=KEY, model="run", token="x")
    assert call("query", "example.org", photos[0], "--key", tmp_path / "client.key")[0] == 2
