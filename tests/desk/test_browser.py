"""The desk in a real browser: Debian's Chromium, driven by Playwright. Skipped, by name, where there is none."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cipherlens.desk.roles.handles import OwnProvider
from cipherlens.desk.setting import Setting
from tests.desk.conftest import RUNS_KEY, Opened, opened, photos, wait_for

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: no browser was driven")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: no browser was driven")
SCREENSHOTS = os.environ.get("CIPHERLENS_SCREENSHOTS")
"""Folder for screenshots, to be looked at."""
SIZES = {"wide": (1280, 900), "narrow": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = []
    for number, content in enumerate(photos(20, 64)):
        paths.append(tmp_path / f"IMG_{number:04}.jpg")
        paths[-1].write_bytes(content)
    return paths


def open_page(browser: Any, client: Opened, size: str = "wide", scheme: str = "light") -> Any:
    """A fresh browser that takes over the session; every request that it makes is in ``page.seen``."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    host = client.base_url.host
    context.add_cookies(
        [{"name": name, "value": value, "domain": host, "path": "/"} for name, value in client.cookies.items()]
    )
    page = context.new_page()
    page.seen, page.errors = [], []
    page.on("request", lambda request: page.seen.append(request.url))
    page.on("console", lambda said: page.errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(str(client.base_url))
    return page


def picture(page: Any, name: str) -> None:
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"), full_page=True, caret="initial")


def test_photos_are_dropped_answered_and_read(browser: Any, files: list[Path], runs: Path, tmp_path: Path) -> None:
    """Twenty photos: the provider answers, the eavesdropper reads more and more; under stream it does not."""
    provider = OwnProvider(runs / "run", tmp_path)
    with opened(Setting("hill", 4, size=32), provider, RUNS_KEY) as client:
        page = open_page(browser, client)
        page.set_input_files("#files", files[:1])
        page.wait_for_selector("ol.photos li img[alt=sealed]", timeout=3_000)
        page.set_input_files("#files", files[1:])
        page.wait_for_selector("text=20 answered by the provider", timeout=120_000)
        wait_for(lambda: client.desk.readings and client.desk.readings[-1].photos == 20)
        page.wait_for_selector("ol.photos li:first-child img[alt='what the eavesdropper reads']", timeout=20_000)
        first, last = client.desk.readings[0], client.desk.readings[-1]
        assert last.similarity > last.guess + 0.1 and first.photos < last.photos
        picture(page, "hill-wide-light")
        for size, scheme in (("wide", "dark"), ("narrow", "light"), ("narrow", "dark")):
            other = open_page(browser, client, size, scheme)
            other.wait_for_selector("ol.photos li img[alt='what the eavesdropper reads']")
            assert other.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
            picture(other, f"hill-{size}-{scheme}")
            other.close()
        page.select_option("#controls select[name=scheme]", "stream")
        page.click("text=Seal with this")
        page.wait_for_selector("text=nothing is read", timeout=60_000)
        picture(page, "stream-wide-light")
        host = str(client.base_url).rstrip("/")
        assert all(url.startswith((host, "data:")) for url in page.seen) and not page.errors


def test_with_the_keyboard_alone(browser: Any, files: list[Path]) -> None:
    with opened(Setting("hill", 4, size=32)) as client:
        page = open_page(browser, client)
        reached = []
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id || document.activeElement.name || 'page'"))
        assert {"files", "scheme", "block", "size", "per_image", "count", "source", "out", "path"} <= set(reached)
        page.focus("#controls select[name=scheme]")
        page.keyboard.type("SHF")
        page.focus("#controls form[hx-post='/setting'] button")
        page.keyboard.press("Enter")
        page.wait_for_selector("#controls strong:has-text('SHF')")  # the part is swapped, and the focus settled
        page.wait_for_timeout(300)
        with page.expect_file_chooser() as chooser:
            page.locator("#files").press("Enter")
        chooser.value.set_files(files[:3])
        page.wait_for_selector("ol.photos li:nth-child(3)")
        page.focus("#trial-form form button")
        page.keyboard.press("Enter")
        wait_for(lambda: client.desk.trials)
        page.wait_for_selector("ol.trials li")
        assert not page.errors


def test_broken_photos_and_ten_thousand(browser: Any, files: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 nothing")
    with opened(Setting("hill", 4, size=32)) as client:
        page = open_page(browser, client)
        page.set_input_files("#files", [files[0], broken])
        page.wait_for_selector("#notes >> text=broken.jpg")
        page.wait_for_selector("text=1 photos sealed and sent, 1 not.")
        content = files[1].read_bytes()
        page.evaluate(
            """(bytes) => {
              const data = new DataTransfer(), content = new Uint8Array(bytes);
              for (let i = 0; i < 10000; i++) data.items.add(new File([content], `photo-${i}.jpg`));
              document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
            }""",
            list(content),
        )
        page.wait_for_selector("#notes >> text=of 10000 photos were left out", timeout=30_000)
        wait_for(lambda: len(client.desk.photos) == 200)
        assert page.evaluate("1 + 1") == 2
        picture(page, "full-wide-light")
        page.click("text=Take all away")
        page.wait_for_selector("text=No photos yet")


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        ("wide", "light"),
        ("narrow", "dark"),
        pytest.param("wide", "dark", marks=pytest.mark.full),
        pytest.param("narrow", "light", marks=pytest.mark.full),
    ],
)
def test_no_serious_fault_of_accessibility(browser: Any, files: list[Path], size: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with opened(Setting("hill", 4, size=32)) as client:
        page = open_page(browser, client, size, scheme)
        page.set_input_files("#files", files[:3])
        wait_for(lambda: client.desk.readings and client.desk.readings[-1].photos == 3)
        client.post("/trials", data={"scheme": "stream", "block": "4", "size": "32", "count": "2"})
        client.post("/setting", data={"scheme": "none", "block": "4", "size": "32"})
        page.wait_for_selector("ol.trials li")
        found = axe.Axe().run(page).response["violations"]
        serious = [
            (one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")
        ]
        assert not serious
