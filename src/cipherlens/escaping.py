"""Text that somebody else may have written, made harmless for a terminal and for Markdown.

Class names, splits and fingerprints come from manifests and run folders. HTML is escaped by the templates of the
report, all of it, by Jinja.
"""

import html
import re

# Control characters (C0, DEL, C1), line and paragraph separators, marks that turn the direction of text, and
# halves of surrogate pairs, which cannot be written.
_HARMFUL = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_CONTROLS = re.compile(f"[{_HARMFUL}]")
# Marks that begin something in Markdown (of underscores only those at the ends of words, of colons only a link's).
_MARKS = re.compile(r"[`*\[\]|!~@]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|:(?=//)|(?<=www)\.", re.IGNORECASE)


def escape_terminal(text: str) -> str:
    r"""One line for a terminal or a JSON string: what could move the cursor or hide text is shown as ``\u001b``."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def escape_markdown(text: str) -> str:
    """One line of Markdown that shows ``text`` as it is: no HTML, link, picture or table cell of its own."""
    return _MARKS.sub(r"\\\g<0>", html.escape(escape_terminal(text).replace("\\", "\\\\"), quote=False))
