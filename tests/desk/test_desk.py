"""What the page shows: photos, what the provider gets and answers, what an eavesdropper reads."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cipherlens as cl
from cipherlens.desk import desk as desks
from cipherlens.desk.roles.handles import Eavesdropper, OwnProvider
from cipherlens.desk.setting import BLOCKS, SCHEMES, Setting
from tests.desk.conftest import KEY, RUNS_KEY, Opened, opened, photos, wait_for
from tests.security.secrets.needles import encode_cipher, encode_secret
from tests.security.secrets.search import Finder


def drop(client: Opened, content: bytes, name: str = "photo.jpg") -> Any:
    return client.post("/photos", content=content, headers={"X-Name": name})


def wait_until_read(client: Opened, count: int) -> None:
    desk = client.desk
    wait_for(lambda: (desk.readings and desk.readings[-1].photos == count) or desk.nothing_read)


def picture(client: Opened, what: str, place: int) -> np.ndarray:
    photo = client.desk.photos[place]
    answer = client.get(f"/picture/{what}/{photo.number}/{photo.version}")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_photos_are_sealed_and_read() -> None:
    with opened(Setting("hill", 4, size=32)) as client:
        started = time.monotonic()
        assert drop(client, photos(1)[0]).status_code == 201
        assert picture(client, "plain", 0).shape == picture(client, "sealed", 0).shape == (32, 32, 3)
        assert time.monotonic() - started < 3
        for content in photos(20)[1:]:
            assert drop(client, content).status_code == 201
        wait_until_read(client, 20)
        last = client.desk.readings[-1]
        assert last.attack == "covariance" and last.similarity > last.guess + 0.2
        assert picture(client, "read", 0).shape == (32, 32, 3)
        board = client.get("/board").text
        assert "covariance" in board and f"{last.similarity:.2f}" in board and board.count("<li>") == 20
        version = client.desk.version
        assert client.get(f"/board?seen={version}").status_code == 204
        # The same photos under real encryption: nothing is read.
        form = {"scheme": "stream", "block": "4", "size": "32"}
        assert client.post("/setting", data=form).status_code == 200
        wait_for(lambda: client.desk.nothing_read and not client.desk.reads)
        assert (
            all(photo.read is None for photo in client.desk.photos)
            and "nothing is read" in client.get("/board").text
        )
        assert client.post("/clear").status_code == 200 and not client.desk.photos


def test_the_provider_answers_and_says_why_not(runs: Path, tmp_path: Path) -> None:
    """The run's own key and scheme get answers, the same as in this process; others are refused."""
    from cipherlens.service.models import open_models

    provider = OwnProvider(runs / "run", tmp_path)
    model = open_models([str(runs / "run")])["run"]
    with opened(Setting("hill", 4, size=32), provider, RUNS_KEY) as client:
        for content in photos(5, 32):
            drop(client, content)
        wait_for(lambda: client.desk.photos and all(photo.answer for photo in client.desk.photos))
        wanted = model.compute(np.stack([photo.sealed for photo in client.desk.photos])).argmax(1)
        found = [photo.answer[0][0] for photo in client.desk.photos]
        assert found == [model.contract.classes[number] for number in wanted]
        assert "answered by the provider" in client.get("/board").text
        client.post("/setting", data={"scheme": "hill", "block": "8", "size": "32"})
        wait_for(lambda: "another scheme" in client.get("/board").text)
        assert client.post("/setting", data={"act": "provider"}).status_code == 200
        wait_for(lambda: all(photo.answer for photo in client.desk.photos))
        client.post("/key", data={"act": "make"})
        wait_for(lambda: "another key" in client.get("/board").text)
        assert client.desk.key.fingerprint != RUNS_KEY.fingerprint


@pytest.mark.parametrize(
    ("scheme", "per_image"),
    [pytest.param(name, False, marks=[pytest.mark.full] * (name == "shf")) for name in SCHEMES]  # it takes long
    + [("negpos", True), pytest.param("etc", True, marks=pytest.mark.full)],
)
def test_a_trial_of_every_scheme(scheme: str, per_image: bool) -> None:
    with opened(Setting("hill", 4, size=32)) as client:
        for content in photos(4):
            drop(client, content)
        form = {"scheme": scheme, "block": "4", "size": "32", "count": "3"} | (
            {"per_image": "1"} if per_image else {}
        )
        assert client.post("/trials", data=form).status_code == 200
        wait_for(lambda: client.desk.trials[0].done)
        (trial,) = client.desk.trials
        assert (trial.result is None) == (scheme in ("stream", "pixel-permutation", "ele"))
        assert len(trial.pictures) == 3 and client.get(f"/trial/{trial.number}/read/2").status_code == 200
        assert client.get(f"/trial/{trial.number}/read/3").status_code == 404
        assert trial.setting.describe() in client.get("/trials").text


def test_the_eavesdropper_gets_ciphertexts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that goes to its process: standard input, arguments, environment. A key put there is found."""
    import asyncio.subprocess

    seen, start = list[bytes](), asyncio.create_subprocess_exec

    async def watch(*words: str, **options: Any) -> Any:
        process = await start(*words, **options)
        seen.append(repr((words, options["env"])).encode())
        write = process.stdin.write
        process.stdin.write = lambda content: (seen.append(bytes(content)), write(content))[1]
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watch)
    monkeypatch.setenv("CIPHERLENS_PASSPHRASE", KEY.to_bytes().hex())
    with opened(Setting("hill", 4, size=32)) as client:
        for content in photos(6):
            drop(client, content)
        wait_until_read(client, 6)
        pixels = [photo.pixels for photo in client.desk.photos]
        tables = encode_cipher(client.desk.setting.cipher.bind(KEY, (3, 32, 32)))
    rows = {image[0, row].tobytes(): "a row" for image in pixels for row in (8, 16)}
    rows |= {(image[0, 16] / np.float32(255)).astype(np.float32).tobytes(): "a row" for image in pixels}
    finder = Finder(encode_secret(KEY.to_bytes(), "the key") | tables | rows)
    assert sum(map(len, seen)) > 6 * 3 * 32 * 32 and not finder.search(b"".join(seen))
    assert finder.search(b"".join(seen) + pixels[0].tobytes()) == {"a row"}


def test_bad_photos_and_a_full_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = io.BytesIO()
    Image.new("1", (20_000, 10_001)).save(huge, "PNG")
    with opened() as client:
        for content, said in (
            (b"", "not an image"),
            (b"\xff\xd8nonsense", "not an image"),
            (huge.getvalue(), "pixels"),
        ):
            answer = drop(client, content, "holiday.jpg")
            assert (answer.status_code, "holiday.jpg" in answer.text, said in answer.text) == (422, True, True), (
                answer.text
            )
        monkeypatch.setattr(desks, "MAX_PHOTOS", 2)
        good = photos(1)[0]
        assert [drop(client, good).status_code for _ in range(3)] == [201, 201, 409]
        assert "folder" in drop(client, good).text
        name = "%3Cscript%3Ealert(1)%3C%2Fscript%3E.jpg"
        client.post("/clear")
        drop(client, good, name)
        assert "<script>alert" not in client.get("/board").text and "&lt;script&gt;" in client.get("/board").text


def test_what_forms_refuse(tmp_path: Path) -> None:
    with opened() as client:
        drop(client, photos(1)[0])
        for path, form, said in (
            ("/setting", {"scheme": "rot13", "block": "8", "size": "96"}, "no such setting"),
            ("/setting", {"scheme": "hill", "block": "x", "size": "96"}, "block is no number"),
            ("/setting", {"scheme": "hill", "block": "8", "size": "96", "per_image": "1"}, "one key for all"),
            ("/setting", {"act": "provider"}, "no provider"),
            ("/key", {"act": "open", "path": str(tmp_path / "none")}, "none"),
            ("/key", {"act": "open"}, "no file is named"),
            ("/trials", {"scheme": "hill", "block": "8", "size": "96", "count": "-1"}, "count is no number"),
            ("/folder", {"source": str(tmp_path), "out": str(tmp_path / "out")}, "in no file"),
            ("/reports", {"path": str(tmp_path)}, "cannot be read"),
            ("/reports", {"path": "/etc/hostname"}, "no audit report"),
        ):
            answer = client.post(path, data=form)
            assert (answer.status_code, said in answer.text) == (422, True), (path, answer.text)
        assert client.post("/setting", content=bytes(1 << 15)).status_code == 422
        for path in (
            "/picture/plain/99/0",
            "/picture/key/1/0",
            "/static/../gate.py",
            "/static/none",
            "/reports/0",
            "/x",
        ):
            assert client.get(path).status_code == 404


def test_a_folder_is_sealed_with_the_desks_key(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    for number, content in enumerate(photos(6)):
        (tmp_path / "photos" / "cat" / f"{number}.jpg").write_bytes(content)
    (tmp_path / "photos" / "cat" / "broken.jpg").write_bytes(b"broken")
    with opened(Setting("hill", 8, size=64)) as client:
        assert client.post("/key", data={"act": "make", "path": str(tmp_path / "my.key")}).status_code == 200
        form = {"source": str(tmp_path / "photos"), "out": str(tmp_path / "sealed")}
        assert client.post("/folder", data=form).status_code == 200
        wait_for(lambda: client.page.job is not None and not client.page.job.runs)
        assert "1 could not be decoded" in client.get("/progress").text
        assert client.post("/key", data={"act": "make", "path": str(tmp_path / "my.key")}).status_code == 422
    sealed = cl.SealedDataset.open(tmp_path / "sealed", cl.Key.load(tmp_path / "my.key"))
    assert sum(len(sealed.split(name)) for name in sealed.splits) == 6 and sealed.spec.plain_shape == (3, 64, 64)


def test_a_report_is_shown_in_a_sandbox(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>cipherlens audit</p><script>alert(1)</script>")
    with opened() as client:
        assert client.post("/reports", data={"path": str(tmp_path)}).status_code == 200
        answer = client.get("/reports/0")
        assert answer.status_code == 200 and answer.headers["Content-Security-Policy"].startswith("sandbox;")


def test_a_new_setting_ends_the_old_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun under the old setting is never shown under the new one."""
    started = list[str]()
    read = Eavesdropper.read

    async def watch(self: Any, setting: Setting, ciphertexts: Any) -> Any:
        started.append(setting.describe())
        return await read(self, setting, ciphertexts)

    monkeypatch.setattr(Eavesdropper, "read", watch)
    with opened(Setting("hill", 4, size=64)) as client:
        for content in photos(8):
            drop(client, content)
        wait_for(lambda: started)
        client.post("/setting", data={"scheme": "hill", "block": "4", "size": "32"})
        wait_until_read(client, 8)
        assert all(reading.attack == "covariance" for reading in client.desk.readings)
        assert all(photo.read is not None and photo.read.shape == (3, 32, 32) for photo in client.desk.photos)
        assert not client.desk.problem


def test_settings_that_cannot_be() -> None:
    for block in BLOCKS:
        assert Setting("hill", block, size=224 if block < 32 else 32).cipher.block == block
    for bad in ({"scheme": "identity"}, {"block": 5}, {"size": 33}, {"per_image": True}):
        with pytest.raises(cl.CipherlensError):
            Setting(**bad)  # type: ignore[arg-type]
