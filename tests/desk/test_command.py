"""``cipherlens desk`` as users start it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.desk.conftest import RUNS_KEY, photos, wait_for
from tests.service.conftest import find_port


def list_children(parent: int) -> dict[int, str]:
    """Command lines of the processes of a parent."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            facts = (place / "stat").read_text().rpartition(")")[2].split()
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if int(facts[1]) == parent and facts[0] != "Z":
            found[int(place.name)] = words
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are listed from /proc")
def test_the_page_and_its_roles_end_together(runs: Path, tmp_path: Path) -> None:
    """The link is shown, photos are answered and read; after kill -9 nobody is left."""
    RUNS_KEY.save(tmp_path / "client.key")
    port, said = find_port(), tmp_path / "said"
    words = ("--run", runs / "run", "--key", tmp_path / "client.key", "--port", port, "--no-browser")
    with said.open("wb") as sink:
        page = subprocess.Popen(
            [sys.executable, "-m", "cipherlens", "desk", *map(str, words)], stderr=sink, cwd=tmp_path
        )
    children: dict[int, str] = {}
    try:
        wait_for(lambda: re.search(r"http://\S+", said.read_text()))
        link = re.search(r"http://\S+", said.read_text())[0]  # type: ignore[index]
        base = link.partition("/start/")[0]
        with httpx.Client(base_url=base, headers={"Origin": base}, trust_env=False, timeout=60) as client:
            wait_for(lambda: opens(client, link))
            for content in photos(3, 32):
                assert client.post("/photos", content=content).status_code == 201
            wait_for(lambda: "3</b> answered" in client.get("/board").text)
            wait_for(lambda: "from 3;" in client.get("/board").text)
        children = list_children(page.pid)
        kinds = " ".join(children.values())
        assert "roles.provider" in kinds and "roles.eavesdropper" in kinds
        assert str(tmp_path / "client.key") not in kinds
        page.send_signal(signal.SIGKILL)
        page.wait(20)
        wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 20)
    finally:
        page.kill()
        for child in children:
            if Path(f"/proc/{child}").exists():
                os.kill(child, signal.SIGKILL)


def opens(client: httpx.Client, link: str) -> bool:
    try:
        return client.get(link).status_code == 303
    except httpx.TransportError:
        return False


def test_what_the_command_refuses(runs: Path, tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words, code, told in (
        (("--run", tmp_path / "none"), 4, "none"),
        (("--run", runs / "run-locked"), 2, "locked"),
        (("--run", "a", "--provider", "http://127.0.0.1:1"), 2, "a run or a provider"),
        (("--run", "a", "--model", "b"), 2, "a provider elsewhere"),
        (("--provider", "ftp://a"), 2, "no address"),
        (("--port", 0), 2, "port"),
        (("--key", tmp_path / "none"), 3, "none"),
    ):
        found, _, err = call("desk", *words, "--no-browser")
        assert (found, told in err) == (code, True), (words, err)


def test_the_page_answers_while_an_attack_runs() -> None:
    from cipherlens.desk.setting import Setting
    from tests.desk.conftest import opened

    with opened(Setting("hill", 8, size=64)) as client:
        for content in photos(4):
            client.post("/photos", content=content)
        wait_for(lambda: client.desk.reads)
        longest = 0.0
        for _ in range(20):
            started = time.perf_counter()
            assert client.get("/board").status_code == 200
            longest = max(longest, time.perf_counter() - started)
        assert client.desk.reads and longest < 1
