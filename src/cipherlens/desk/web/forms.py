"""What the page sends: photos and forms, read within limits."""

from pathlib import Path
from urllib.parse import parse_qs

from starlette.requests import Request

from cipherlens.desk.setting import Setting
from cipherlens.errors import DataError, UsageError

_MOST_FORM = 1 << 14
_DIGITS = 5
"""Longest number of a form."""


async def read_body(request: Request, most: int) -> bytes:
    """A body of at most so many bytes. Raises DataError for more, as soon as it is known."""
    parts, size = list[bytes](), 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise DataError(f"this is larger than {most >> 20} MB", hint="reduce it first")
        parts.append(part)
    return b"".join(parts)


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form. Raises UsageError for another body."""
    content = await read_body(request, _MOST_FORM)
    try:
        fields = parse_qs(content.decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise UsageError("this is no form", hint="use the page") from None
    return {name: values[-1].strip() for name, values in fields.items()}


def to_number(form: dict[str, str], name: str) -> int:
    """A whole number of a form. Raises UsageError for another text."""
    text = form.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise UsageError(f"{name} is no number", hint="choose on the page")
    return int(text)


def to_setting(form: dict[str, str]) -> Setting:
    """The setting that a form chooses. Raises UsageError for one that cannot be."""
    return Setting(
        form.get("scheme", ""), to_number(form, "block"), bool(form.get("per_image")), to_number(form, "size")
    )


def to_path(form: dict[str, str], name: str) -> Path | None:
    """A path of a form, ``~`` as the home folder; None for an empty field."""
    return Path(form[name]).expanduser() if form.get(name) else None
