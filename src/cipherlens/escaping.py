"""Escape untrusted text for a terminal and for Markdown.

Class names, splits and fingerprints come from manifests and run folders. Jinja escapes all HTML of the report.
"""

import html
import re

# Control characters (C0, DEL, C1), line and paragraph separators, bidirectional control characters, and unpaired
# surrogates, which cannot be encoded.
_HARMFUL = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_CONTROLS = re.compile(f"[{_HARMFUL}]")
# Characters with a meaning in Markdown: underscores only at the ends of words, colons only in links.
_MARKS = re.compile(r"[`*\[\]|!~@]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|:(?=//)|(?<=www)\.", re.IGNORECASE)


def escape_terminal(text: str) -> str:
    r"""One line for a terminal or a JSON string; control characters are shown as ``\u001b``."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def escape_markdown(text: str) -> str:
    """One line of Markdown that shows ``text`` literally, without HTML, links, pictures or table cells."""
    return _MARKS.sub(r"\\\g<0>", html.escape(escape_terminal(text).replace("\\", "\\\\"), quote=False))
