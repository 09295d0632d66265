"""Pages of docs/ are complete, are what the records say, lead somewhere, and have short sentences."""

import re
import sys
from pathlib import Path

import pytest

import cipherlens as cl
from cipherlens.ciphers import CIPHERS

pytest.importorskip("matplotlib")
ROOT = Path(__file__).parents[2]
PAGES = ROOT / "benchmarks" / "pages"
sys.path.append(str(PAGES))
import links  # noqa: E402
import sentences  # noqa: E402
import write_results  # noqa: E402

NAVIGATION = (ROOT / "mkdocs.yml").read_text()
WITH_MODEL = ("adaptation", "batchnorm-match", "locked-model", "folded-model")


def test_generated_pages_are_those_of_the_records(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["write_results.py", "--check"])
    assert write_results.main() == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", [*cl.list_attacks(), *WITH_MODEL])
def test_every_attack_has_a_page(name):
    page = (ROOT / "docs" / "attacks" / f"{name}.md").read_text()
    for heading in ("Method", "Measured", "Where it fails", "Cost", "References"):
        assert f"\n## {heading}\n" in page
    assert f"attacks/{name}.md\n" in NAVIGATION


@pytest.mark.parametrize("name", list(CIPHERS))
def test_every_cipher_has_a_page(name):
    page = (ROOT / "docs" / "ciphers" / f"{name}.md").read_text()
    for heading in ("Definition", "Parameters", "What breaks it", "References"):
        assert f"\n## {heading}\n" in page
    assert f"ciphers/{name}.md\n" in NAVIGATION


def test_every_page_is_in_the_navigation():
    for page in (ROOT / "docs").rglob("*.md"):
        assert f"{page.relative_to(ROOT / 'docs')}\n" in NAVIGATION, page


def test_every_public_name_is_in_the_reference():
    named = (ROOT / "docs" / "reference" / "api.md").read_text().splitlines()
    for name in cl.__all__:
        assert any(re.fullmatch(rf"::: cipherlens\.(\w+\.)*{name}", line) for line in named), name


def test_links_lead_somewhere(capsys):
    assert links.main() == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_sentences_are_short(page):
    assert not sentences.judge(page)[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"One {'word ' * 40}more.", "42 words"),
        ("Nineteen words make a median that is one too long " + "so " * 9 + ". ", "median"),
        ("Short. " * 1501, "1,501 words"),
    ],
)
def test_long_prose_is_noticed(tmp_path, text, told):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{text}\n")
    assert any(told in problem for problem in sentences.judge(page)[1])


def test_what_is_generated_or_code_does_not_count(tmp_path):
    page = tmp_path / "page.md"
    long = "word " * 50
    page.write_text(
        f"Short.\n\n```\n{long}\n```\n\n<details><summary>x</summary>\n\n{long}\n\n</details>\n\n| {long} |\n"
    )
    assert not sentences.judge(page)[1]
