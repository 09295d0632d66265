"""Relative links of all Markdown files, and their anchors: python benchmarks/pages/links.py."""

import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|(?:href|src)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
NAMED = re.compile(r"(?:id|name)=\"([^\"]+)\"")
SKIPPED = {".venv", "node_modules", "site", ".git"}
PARTS = ROOT / "benchmarks" / "pages"
"""Parts of pages lie here; their links are those of the pages."""


def list_pages() -> list[Path]:
    pages = (page for page in ROOT.rglob("*.md") if not SKIPPED & set(page.relative_to(ROOT).parts))
    return sorted(
        page for page in pages if PARTS not in page.parents and not page.relative_to(ROOT).parts[0].startswith(".")
    )


@cache
def list_anchors(page: Path) -> frozenset[str]:
    """The names that a repository host, and the site, give to headings."""
    text = CODE.sub("", page.read_text())
    seen: Counter[str] = Counter()
    found = set(NAMED.findall(text))
    for heading in HEADING.findall(text):
        plain = re.sub(r"[*`]|<!--.*?-->|\[([^]]*)]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        found.add(slug if not seen[slug] else f"{slug}-{seen[slug]}")
        seen[slug] += 1
    return frozenset(found)


def check(page: Path) -> list[str]:
    problems = []
    for first, second in LINK.findall(INLINE.sub("", CODE.sub("", page.read_text()))):
        link = first or second
        if re.match(r"[a-z+]+:|//", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / unquote(place)).resolve() if place else page
        if not target.exists():
            problems.append(f"{page.relative_to(ROOT)}: {link} leads nowhere")
        elif anchor and target.suffix == ".md" and anchor not in list_anchors(target):
            problems.append(f"{page.relative_to(ROOT)}: {link} names no heading")
    return problems


def main() -> int:
    pages = list_pages()
    problems = [problem for page in pages for problem in check(page)]
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    print(f"{len(pages)} pages, {len(problems)} broken links")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
