"""The storage at a path or URL."""

import os

from cipherlens.data.storage.base import Storage
from cipherlens.data.storage.local import LocalStorage
from cipherlens.data.storage.remote import RemoteStorage
from cipherlens.data.storage.url import Url, as_place


def open_storage(place: "str | os.PathLike[str] | Url") -> Storage:
    """A folder of this machine, or a URL. Nothing is read yet. Raises UsageError for an impossible URL."""
    found = as_place(place)
    return RemoteStorage(found) if isinstance(found, Url) else LocalStorage(found)
