"""The project's papers say the same as its code: version, licence, sources."""

import re
from pathlib import Path

import cipherlens as cl

ROOT = Path(__file__).parents[1]
BIB = (ROOT / "docs/references.bib").read_text()


def test_one_version_everywhere():
    assert f"\nversion: {cl.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None and newest[1] == cl.__version__


def test_every_cipher_and_attack_has_a_source_or_is_ours():
    entries = BIB.split("\n@")
    ours = set(
        re.findall(r"[a-z-]+", entries[0].replace("\n%", "").partition("of this project: ")[2].partition(".")[0])
    )
    keywords = " ".join(re.findall(r"keywords = \{(.*?)\}", BIB)).replace(",", " ").split()
    with_model = ["adaptation", "batchnorm-match", "locked-model", "folded-model"]
    for attack in (*cl.list_attacks(), *with_model):
        assert (attack in keywords) != (attack in ours), attack
    for cipher in set(cl.list_ciphers()) - {"identity", "stream", "etc-legacy"}:
        assert cipher in keywords, cipher
    for entry in entries[1:]:
        assert {"author", "title", "year", "keywords"} <= set(re.findall(r"^  (\w+) = \{", entry, re.MULTILINE))


def test_the_licence_is_the_whole_one():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0" in text and "END OF TERMS AND CONDITIONS" in text


def test_every_promise_has_a_test():
    page = (ROOT / "docs/threat-model.md").read_text().partition("## Each promise has a test\n")[2]
    rows = [line for line in page.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 20
    for row in rows:
        _, promise, places, _ = row.split("|")
        assert promise.strip().endswith("."), promise
        named = [part.split(": ") for part in places.strip().split("; ")]
        assert named
        for file, functions in named:
            text = (ROOT / "tests" / file.strip("`")).read_text()
            for function in functions.split(", "):
                assert f"\ndef {function.strip('`')}(" in text, f"{file}: {function}"
