"""The data owner's side: it alone has key and photos, and hands ciphertexts to the two other roles."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers import BoundCipher
from cipherlens.desk import pictures
from cipherlens.desk.roles.handles import Eavesdropper, Provider
from cipherlens.desk.setting import Setting
from cipherlens.desk.state import Photo, Reading, Trial
from cipherlens.errors import UsageError
from cipherlens.keys import Key

MAX_PHOTOS = 200
"""Photos on the desk. A limit on memory, and on what a person looks at; folders of any size can be sealed."""
_MAX_TRIALS = 24


class DeskFullError(UsageError):
    """There is no room for another photo."""

    def __init__(self) -> None:
        hint = "seal the folder below: that has no limit"
        super().__init__(f"the desk shows {MAX_PHOTOS} photos, and is full", hint)


class Desk:
    """One session. ``version`` grows whenever something to be seen changes."""

    def __init__(self, key: Key, setting: Setting, provider: Provider | None = None, why_not: str = "") -> None:
        self.key, self.setting, self.provider, self.why_not = key, setting, provider, why_not
        self.photos, self.readings, self.trials = list[Photo](), list[Reading](), list[Trial]()
        self.problem, self.nothing_read, self.reads, self.version = "", "", False, 0
        self._bound: BoundCipher = setting.cipher.bind(key, setting.shape)
        self.eavesdropper, self.second = Eavesdropper(), Eavesdropper()
        self.to_ask, self.to_read, self.to_try = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._working = asyncio.Semaphore(2)
        self.choice = 0
        """Grows with each change of key or setting."""
        self._numbers = self._clears = 0

    async def stop(self) -> None:
        """End the other roles."""
        await self.eavesdropper.stop()
        await self.second.stop()
        if self.provider is not None:
            await self.provider.stop()

    async def add(self, name: str, content: bytes) -> Photo:
        """Take a photo, seal it and send it. Raises DeskFullError, or DataError for a bad photo."""
        if len(self.photos) >= MAX_PHOTOS:
            raise DeskFullError
        clears = self._clears
        async with self._working:
            prepared = await asyncio.to_thread(pictures.prepare, name, content)
            choice = -1
            while choice != self.choice:  # it may change meanwhile
                choice = self.choice
                ((pixels, sealed),) = await self._seal([prepared])
        if clears != self._clears:
            raise UsageError("all photos were taken away meanwhile", hint="drop it again")
        if len(self.photos) >= MAX_PHOTOS:
            raise DeskFullError
        self._numbers += 1
        photo = Photo(self._numbers, name, prepared, pixels, sealed, choice)
        self.photos.append(photo)
        self.note(self.to_ask, self.to_read)
        return photo

    async def choose(self, setting: Setting, key: Key | None = None) -> None:
        """Another setting or key: everything is sealed and sent again, and the eavesdropper starts anew."""
        self._bound = setting.cipher.bind(key or self.key, setting.shape)
        self.key, self.setting = key or self.key, setting
        self.choice += 1
        self.readings, self.problem, self.nothing_read = [], "", ""
        self.note()
        await self.eavesdropper.stop()
        async with self._working:
            choice = self.choice
            photos = [photo for photo in self.photos if photo.choice != choice]
            sealed = await self._seal([photo.prepared for photo in photos])
        if choice == self.choice:
            for photo, pair in zip(photos, sealed, strict=True):
                photo.seal_again(*pair, choice)
            self.note(self.to_ask, self.to_read)

    async def clear(self) -> None:
        """Take all photos away; the eavesdropper forgets too."""
        self.photos, self.readings, self.trials, self.problem, self.nothing_read = [], [], [], "", ""
        self.choice += 1
        self._clears += 1
        await self.eavesdropper.stop()
        await self.second.stop()
        self.note(self.to_ask, self.to_read)

    def attempt(self, setting: Setting, count: int) -> Trial:
        """Queue a trial of another setting. Raises UsageError without photos, or with too many trials."""
        if not self.photos:
            raise UsageError("there are no photos", hint="drop some first")
        if len(self.trials) >= _MAX_TRIALS:
            raise UsageError(f"there are {_MAX_TRIALS} trials", hint="clear the desk")
        self._numbers += 1
        trial = Trial(self._numbers, setting, max(1, min(count, len(self.photos))))
        self.trials.append(trial)
        self.note(self.to_try)
        return trial

    @property
    def sent(self) -> list[Photo]:
        """The photos that are sealed under the present key and setting."""
        return [photo for photo in self.photos if photo.choice == self.choice]

    def list_unanswered(self) -> list[Photo]:
        """Those of which the provider has said nothing yet."""
        return [photo for photo in self.sent if not photo.answer and not photo.refused]

    @property
    def refusal(self) -> str:
        """Why the provider cannot answer on what is sent; empty where it can."""
        if self.provider is None:
            return self.why_not
        scheme = self.provider.scheme
        if scheme is None:
            return "the provider loads its model"
        if scheme.key_fingerprint != self.key.fingerprint:
            return "the provider's model was trained under another key, so it refuses"
        if not self.setting.fits(scheme):
            return "the provider's model was trained on another scheme or size, so it refuses"
        return ""

    def note(self, *events: asyncio.Event) -> None:
        """Something to be seen has changed; ``events``: who has work now."""
        self.version += 1
        for event in events:
            event.set()

    async def _seal(self, prepared: Sequence[NDArray[np.uint8]]) -> list[tuple[NDArray[np.uint8], NDArray[Any]]]:
        return await asyncio.to_thread(seal, self._bound, self.setting, prepared)


def seal(
    bound: BoundCipher, setting: Setting, prepared: Sequence[NDArray[np.uint8]]
) -> list[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Pixels and ciphertexts of prepared photos; no two are sealed under the same image key."""
    if not prepared:
        return []
    pixels = np.stack([pictures.resize(photo, setting.size) for photo in prepared])
    ids = [f"desk/{secrets.token_hex(16)}" for _ in prepared]
    return list(zip(pixels, np.asarray(bound.encrypt(pixels, ids)), strict=True))
