"""One desk with what its page adds: the key's file, a folder that is sealed, reports."""

from pathlib import Path

from fastapi.responses import HTMLResponse

from cipherlens.desk.desk import Desk
from cipherlens.desk.folder import FolderJob
from cipherlens.desk.state import describe
from cipherlens.desk.web import views
from cipherlens.errors import DataError
from cipherlens.keys import Key

_MOST_REPORT = 64 << 20
"""Bytes of a report. A limit on memory."""


class Page:
    """What the routes work on. ``key_name``: the key's file, empty for a key in memory only."""

    def __init__(self, desk: Desk, key_name: str) -> None:
        self.desk, self.key_name = desk, key_name
        self.job: FolderJob | None = None
        self.reports = list[Path]()

    def show(self, part: str, error: Exception | None = None) -> HTMLResponse:
        """A part of the page; with what went wrong."""
        facts = {
            "problem": "" if error is None else describe(error),
            "key_name": self.key_name or "in memory only",
            "key_saved": bool(self.key_name),
            "job": self.job,
            "reports": [str(path) for path in self.reports],
        }
        return HTMLResponse(views.show(part, self.desk, **facts | views.propose(self.desk)))


def make_key(path: Path | None) -> Key:
    """A new key, in a file where one is named; a file that is there already is never overwritten."""
    key = Key.generate()
    if path is not None:
        key.save(path, comment="made at the desk")
    return key


def read_report(path: Path) -> str:
    """The page of an audit. Raises DataError for another file."""
    try:
        if path.stat().st_size > _MOST_REPORT:
            raise ValueError
        content = path.read_text("utf-8")
    except (OSError, ValueError):
        raise DataError(f"{path} cannot be read", hint="name the folder that audit wrote") from None
    if "cipherlens audit" not in content:
        raise DataError(f"{path} is no audit report", hint="name the folder that audit wrote")
    return content
