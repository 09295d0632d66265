"""Generated pages lie in the repository: they are written, or compared with what lies there."""

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def commit(pages: Mapping[Path, str], check: bool) -> list[str]:
    """Write pages, or name those that are not as they would be written."""
    if check:
        return [
            f"{path.relative_to(ROOT)} is not what its program writes"
            for path, text in pages.items()
            if not path.is_file() or path.read_text() != text
        ]
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return []


def fold(section: str, title: str = "") -> str:
    """A generated section behind its heading, which is folded away until somebody asks for it."""
    heading = re.match(r"#+ (.*)\n+", section)
    if heading and not title:
        title, section = heading[1], section[heading.end() :]
    head = f'<details class="generated" markdown="1"><summary>{escape(title)}</summary>'
    return f"{head}\n\n{section.strip()}\n\n</details>\n"


def escape(title: str) -> str:
    """A heading of Markdown as text of HTML."""
    plain = title.replace("&", "&amp;").replace("<", "&lt;").replace("*", "")
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", plain)


def put(page: str, name: str, text: str) -> str:
    """A hand-written page with what belongs between ``<!-- generated: NAME -->`` and ``<!-- end -->``."""
    start = f"<!-- generated: {name} -->"
    before, found, rest = page.partition(start)
    _, end, after = rest.partition("<!-- end -->")
    if not (found and end):
        raise SystemExit(f"a page has no place {start} ... <!-- end -->")
    return f"{before}{start}\n\n{text.strip()}\n\n{end}{after}"
