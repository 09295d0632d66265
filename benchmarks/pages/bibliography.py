"""Entries of docs/references.bib as lines of text."""

import re
from functools import cache
from pathlib import Path

BIB = Path(__file__).parents[2] / "docs" / "references.bib"
ENTRY = re.compile(r"^@(?P<kind>\w+)\{(?P<key>[\w-]+),\n(?P<fields>.*?)^\}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^  (\w+) = \{(.*?)\},?$(?=\n  \w+ = |\n*\Z)", re.MULTILINE | re.DOTALL)
PLACES = ("journal", "booktitle", "institution", "howpublished")


@cache
def load_entries() -> dict[str, dict[str, str]]:
    found = ENTRY.finditer(BIB.read_text())
    return {
        entry["key"]: {name: " ".join(text.split()) for name, text in FIELD.findall(entry["fields"])}
        for entry in found
    }


def cite(key: str) -> str:
    """Authors, title, place, year and where it is found."""
    entry = load_entries()[key]
    authors = [" ".join(reversed(name.split(", ", 1))) for name in entry["author"].split(" and ")]
    shown = ", ".join(authors[:3]) + (" and others" if len(authors) > 3 else "")
    place = next((entry[name] for name in PLACES if name in entry), "")
    where = ""
    if "doi" in entry:
        where = f" [doi:{entry['doi']}](https://doi.org/{entry['doi']})"
    elif "eprint" in entry:
        where = f" [arXiv:{entry['eprint']}](https://arxiv.org/abs/{entry['eprint']})"
    elif "url" in entry:
        where = f" <{entry['url']}>"
    return clean(f"{shown}: *{entry['title']}*. {place + ', ' if place else ''}{entry['year']}.") + where


def clean(text: str) -> str:
    """TeX's braces, dashes and accents as text."""
    for tex, plain in (("---", "-"), ("--", "-"), (r"\&", "&"), (r"\'", ""), ('\\"', ""), ("{", ""), ("}", "")):
        text = text.replace(tex, plain)
    return text


def list_references(keys: list[str], ours: bool = False) -> str:
    own = ["- This attack is of this project: cite [cipherlens](../index.md#cite)."] if ours else []
    return "\n".join(
        [*own, *(f"- {cite(key)}" for key in keys), "", "BibTeX: [references.bib](../references.bib)."]
    )


def find_keys(keyword: str) -> list[str]:
    """Entries that name ``keyword`` among what they are a source of."""
    return [key for key, entry in load_entries().items() if keyword in re.split(r",\s*", entry.get("keywords", ""))]
