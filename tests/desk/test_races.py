"""What happens at the same time, what fails, and what a provider says that is not so."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import cipherlens as cl
from cipherlens.ciphers import create_cipher
from cipherlens.client.line import describe_line
from cipherlens.desk import desk as desks
from cipherlens.desk import work
from cipherlens.desk.desk import Desk
from cipherlens.desk.roles.eavesdropper import choose_attack, read
from cipherlens.desk.roles.handles import Eavesdropper, Provider
from cipherlens.desk.setting import Setting
from cipherlens.desk.web import changing
from cipherlens.service.tokens import Guard, create_token
from tests.desk.conftest import KEY, opened, photos, wait_for
from tests.service.conftest import running, serve_model

SMALL, OTHER = Setting("hill", 4, size=32), Setting("etc", 4, size=64)


def test_photos_that_come_while_the_setting_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All end up sealed under the last setting, also those that were being sealed under the one before."""
    sealing, seal = threading.Event(), desks.seal

    def seal_slowly(*given: Any) -> Any:
        sealing.set()
        time.sleep(0.2)
        return seal(*given)

    async def run() -> Desk:
        desk, contents = Desk(KEY, OTHER), photos(4, 64)
        for content in contents[:3]:
            await desk.add("a", content)
        desk.nothing_read = "of the old setting"
        monkeypatch.setattr(desks, "seal", seal_slowly)
        adding = [asyncio.create_task(desk.add("b", content)) for content in contents[3:]]
        await asyncio.to_thread(sealing.wait)
        await asyncio.gather(desk.choose(SMALL), *adding)
        return desk

    desk = asyncio.run(run())
    assert len(desk.sent) == len(desk.photos) == 4 and not desk.nothing_read
    bound = SMALL.cipher.bind(KEY, SMALL.shape)
    for photo in desk.photos:
        assert np.allclose(np.asarray(bound.encrypt(photo.pixels[None]))[0], photo.sealed, atol=1e-5)


def test_a_photo_on_its_way_does_not_come_back() -> None:
    async def run() -> Desk:
        desk = Desk(KEY, SMALL)
        adding = asyncio.create_task(desk.add("a", photos(1, 64)[0]))
        await asyncio.sleep(0)
        await desk.clear()
        with pytest.raises(cl.CipherlensError, match="taken away"):
            await adding
        return desk

    assert not asyncio.run(run()).photos


def test_an_attack_that_needs_photos_is_not_taken() -> None:
    """EtC from 100 images on: the attack with public photos cannot run here, and is no reason to read nothing."""
    cipher = create_cipher("etc", block=4)
    assert [choose_attack(cipher, (3, 32, 32), count)[0].name for count in (99, 100)] == ["jigsaw"] * 2  # type: ignore[union-attr]
    own = create_cipher("etc", block=4, per_image=True)
    sealed = np.zeros((30, 3, 32, 32), np.uint8)
    told, found = read({"cipher": "etc", "params": own.params, "shape": (3, 32, 32)}, sealed)
    assert told["attack"] == "jigsaw" and len(found) == 20  # as many as are worth attacking, one by one


def test_a_trial_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Eavesdropper.read

    async def fail(self: Any, setting: Setting, ciphertexts: Any) -> Any:
        if setting.scheme == "negpos":
            raise ZeroDivisionError("no")
        return await reads(self, setting, ciphertexts)

    monkeypatch.setattr(Eavesdropper, "read", fail)
    with opened(SMALL) as client:
        client.post("/photos", content=photos(1, 64)[0])
        for scheme in ("negpos", "stream"):
            client.post("/trials", data={"scheme": scheme, "block": "4", "size": "32", "count": "1"})
        wait_for(lambda: all(trial.done for trial in client.desk.trials))
        assert "ZeroDivisionError" in client.desk.trials[0].reason and "attack" in client.desk.trials[1].reason


def test_nothing_of_the_old_setting_is_said_of_the_new() -> None:
    with opened(Setting("stream", size=32)) as client:
        client.post("/photos", content=photos(1, 64)[0])
        wait_for(lambda: "nothing is read" in client.get("/board").text)
        version = client.desk.version
        client.post("/setting", data={"scheme": "hill", "block": "4", "size": "32"})
        assert client.desk.version > version and "nothing is read" not in client.get("/board").text
        photo = client.desk.photos[0]
        answer = client.get(f"/picture/plain/{photo.number}/{photo.version}")
        assert answer.headers["Cache-Control"] == "no-store"  # the next desk on this port has other photos


SCHEME = {
    "cipher": "hill",
    "params": create_cipher("hill", block=4).params,
    "key_fingerprint": KEY.fingerprint,
    "plain_shape": [3, 32, 32],
    "padded_shape": [3, 32, 32],
    "size": 32,
    "pad": False,
}


def answer_on(images: np.ndarray) -> np.ndarray:
    return np.stack([np.zeros(len(images)), images.mean((1, 2, 3))], axis=1).astype(np.float32)


def test_a_provider_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token and a model's name; while it is busy it is asked again, what it refuses is said of the photo."""
    monkeypatch.setattr(work, "_PAUSE", 0.05)
    token, busy = create_token(tmp_path / "tokens.json", "desk"), [True]
    call = Provider._call

    async def be_busy(self: Any, method: str, place: str, **options: Any) -> httpx.Response:
        if method == "POST" and busy.pop() if busy else False:
            raise cl.CipherlensError("the provider is busy")
        return await call(self, method, place, **options)

    monkeypatch.setattr(Provider, "_call", be_busy)
    model = serve_model(answer_on, "sum", scheme=SCHEME)
    object.__setattr__(model.contract, "shape", (3, 32, 32))
    with running(model, guard=Guard(tmp_path / "tokens.json")) as server:
        provider = Provider(describe_line(str(server.base_url), token, None, None), "sum")
        with opened(SMALL, provider) as client:
            for content in photos(3, 64):
                client.post("/photos", content=content)
            wait_for(lambda: sum(bool(photo.answer) for photo in client.desk.photos) == 3)
            assert not client.desk.problem and "Nothing leaves this machine" in client.get("/").text


@pytest.mark.parametrize("facts", [{"scheme": {}}, {"scheme": SCHEME | {"padded_shape": "x"}}])
def test_a_provider_that_says_nothing_usable(facts: dict[str, Any]) -> None:
    with running(serve_model(**facts)) as server:
        provider = Provider(describe_line(str(server.base_url), None, None, None), "sum")
        with opened(SMALL, provider) as client:
            wait_for(lambda: client.desk.why_not != "no provider")
            assert "does not say" in client.desk.why_not
            client.post("/photos", content=photos(1, 64)[0])
            assert "does not say" in client.get("/board").text and client.get("/").status_code == 200


def test_where_ciphertexts_go_is_said() -> None:
    far = Provider(describe_line("https://provider.example", "secret", None, None))
    with pytest.raises(cl.CipherlensError, match="unencrypted"):
        describe_line("http://provider.example", "secret", None, None)
    with opened(SMALL, far) as client:
        client.desk.provider = far
        assert "Ciphertexts go to provider.example" in client.get("/").text


def test_bodies_and_paths_that_are_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changing, "MOST_BYTES", 1 << 20)
    with opened(SMALL) as client:
        answer = client.post("/photos", content=bytes(2 << 20))
        assert (answer.status_code, "larger than 1 MB" in answer.text) == (422, True)
        for path in ("/reports", "/key"):
            for text in ("a" * 300, "a\0b"):
                assert client.post(path, data={"path": text, "act": "open"}).status_code == 422


def test_only_a_get_opens_the_link() -> None:
    from cipherlens.desk.web.gate import Gate

    gate = Gate(None, 8765, "/start/a")
    heads = [(b"host", b"127.0.0.1:8765")]
    for method, opens in (("HEAD", False), ("GET", True), ("GET", False)):
        refusal = gate._judge({"type": "http", "method": method, "path": "/start/a", "headers": heads})
        assert (refusal is not None and refusal.status_code == 303) == opens
