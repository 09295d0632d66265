"""SVG drawings of docs/, from records: text that is compared like a page, for light and dark.

The style is repeated in each file, because a picture cannot link one. In the site the drawing is part of the page,
and the reader's choice of light or dark decides (site.css). Elsewhere the system's does. Colours are told apart by
the colour-blind (Okabe and Ito), some darker to be read as text.
"""

import html

STYLE = """<style>
.drawing { --ink: #1b2233; --soft: #596072; --line: #b9bfcc; --paper: #ffffff; --fill: #eef1f8;
  --a: #0072b2; --b: #b34e00; --c: #00795a }
@media (prefers-color-scheme: dark) { .drawing { --ink: #e6e9f0; --soft: #a9b0c0; --line: #596072;
  --paper: #1e2129; --fill: #2b303c; --a: #56b4e9; --b: #e69f00; --c: #3fcfa0 } }
.drawing text { fill: var(--ink); font: 12.5px Helvetica, Arial, sans-serif }
.drawing .soft { fill: var(--soft) } .drawing .on { fill: var(--paper) } .drawing .bold { font-weight: bold }
.drawing .mid { text-anchor: middle } .drawing .end { text-anchor: end }
</style>"""
WIDTH = 360
"""Units of every drawing's width: pixels on a phone, where its text must be legible."""


def draw(name: str, title: str, description: str, height: int, parts: list[str]) -> str:
    """A whole drawing; readers who do not see it are told its title and description."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">'
    )
    told = (
        f'<title id="{name}-title">{html.escape(title)}</title>\n'
        f'<desc id="{name}-desc">{html.escape(description)}</desc>'
    )
    return "\n".join([head, told, STYLE, *parts, "</svg>"]) + "\n"


def text(x: float, y: float, content: str, look: str = "") -> str:
    chosen = f' class="{look}"' if look else ""
    return f'<text x="{x:g}" y="{y:g}"{chosen}>{html.escape(content)}</text>'


def box(x: float, y: float, width: float, height: float, fill: str, opacity: float = 1) -> str:
    faint = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="var(--{fill})"{faint}/>'


def line(x: float, y: float, to_x: float, to_y: float, look: str = "") -> str:
    dashes = f' stroke-dasharray="{look}"' if look else ""
    return f'<path d="M{x:g} {y:g}L{to_x:g} {to_y:g}" stroke="var(--line)"{dashes}/>'
