"""What mkdocs does besides: figures say where they come from, formulas become MathML, links stay in the site.

Formulas are translated when the site is built, and browsers draw MathML themselves. KaTeX and MathJax would need
a script from another host, or a megabyte of scripts and fonts in the site.
"""

import html
import re
from pathlib import Path
from typing import Any

from figures import MARK
from latex2mathml.converter import convert

FORMULA = re.compile(r'<(?P<tag>span|div) class="arithmatex">(?P<text>.*?)</(?P=tag)>', re.DOTALL)
PICTURE = re.compile(r'<img [^>]*src="(?P<file>[^":]+\.svg)"[^>]*>')
ROLE = re.compile(r":(?:meth|func|class|attr|mod|data):(?=<code>)")
OUTSIDE = re.compile(r"(?<!!)\[(?P<text>[^]]+)]\((?:\.\./)+(?:examples|tests|src|benchmarks|results)(?:/[^)]*)?\)")
TO_ROOT = re.compile(r"(?<!!)\[(?P<text>[^]]+)]\((?:\.\./)+(?P<file>[A-Z][A-Za-z]*\.(?:md|cff))\)")

WIDE = {"leaderboard.md"}
"""Pages whose table takes the place of the navigation at its sides."""


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Comments around figures become hints; links to files outside docs/ become their names."""
    if page.file.src_uri in WIDE:
        page.meta["hide"] = ["navigation", "toc"]
    shown = MARK.sub(show_figure, markdown)
    return TO_ROOT.sub(r"\g<text>", OUTSIDE.sub(r"\g<text>", shown))


def on_post_page(output: str, **_: Any) -> str:
    """A name for the dialog of the search, which Material leaves without one."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def show_figure(found: re.Match[str]) -> str:
    record, _, rest = found["where"].partition(":")
    path = rest.rpartition(":")[0].replace("\\.", ".")
    title = html.escape(f"results/{record}.json: {path}", quote=True).replace("|", "&#124;").replace("*", "&#42;")
    return f'<span class="figure" title="{title}">{found["value"]}</span>'


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Formulas as MathML; drawings as part of the page; roles of Sphinx in docstrings go."""
    folder = Path(page.file.abs_src_path).parent
    shown = PICTURE.sub(lambda found: put_drawing(found, folder), html)
    return FORMULA.sub(draw_formula, ROLE.sub("", shown))


def put_drawing(found: re.Match[str], folder: Path) -> str:
    """A drawing in place of its picture, so that it follows the site's choice of light or dark."""
    drawing = (folder / found["file"]).read_text()
    return f'<div class="drawing-place">{drawing}</div>' if 'class="drawing"' in drawing else found[0]


def draw_formula(found: re.Match[str]) -> str:
    text = html.unescape(found["text"]).strip()
    display = "block" if text.startswith(r"\[") else "inline"
    shown = convert(
        text.removeprefix(r"\[").removesuffix(r"\]").removeprefix(r"\(").removesuffix(r"\)"), display=display
    )
    return f'<div class="formula">{shown}</div>' if display == "block" else shown
