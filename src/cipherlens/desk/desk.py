"""The data owner's side: it alone has key and photos, and hands ciphertexts to the two other roles."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers import BoundCipher
from cipherlens.desk import pictures
from cipherlens.desk.roles import Eavesdropper, Provider
from cipherlens.desk.setting import Setting
from cipherlens.desk.state import Photo, Reading, Trial
from cipherlens.errors import CipherlensError, UsageError
from cipherlens.keys import Key

MAX_PHOTOS = 200
"""Photos on the desk. A limit on memory, and on what a person looks at; folders of any size can be sealed."""
_MAX_TRIALS = 24
_ASKED = 16
"""Ciphertexts that the provider is asked about at a time."""
_SHOWN_OF_TRIAL = 3
Work = Callable[[], Coroutine[Any, Any, None]]
_LOG = logging.getLogger(__name__)


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
        self._eavesdropper, self._second = Eavesdropper(), Eavesdropper()
        self._to_ask, self._to_read, self._to_try = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._working = asyncio.Semaphore(2)
        self._choice = 0  # grows with each change of key or setting
        self._numbers = 0

    async def run(self) -> None:
        """Ask, read and try, until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._meet_provider())
            for event, work in self._works().items():
                tasks.create_task(self._repeat(event, work))

    async def stop(self) -> None:
        """End the other roles."""
        await self._eavesdropper.stop()
        await self._second.stop()
        if self.provider is not None:
            await self.provider.stop()

    async def add(self, name: str, content: bytes) -> Photo:
        """Take a photo, seal it and send it. Raises DeskFullError, or DataError for a bad photo."""
        if len(self.photos) >= MAX_PHOTOS:
            raise DeskFullError
        async with self._working:
            prepared = await asyncio.to_thread(pictures.prepare, name, content)
            pixels, sealed = (await self._seal([prepared]))[0]
        if len(self.photos) >= MAX_PHOTOS:
            raise DeskFullError
        self._numbers += 1
        photo = Photo(self._numbers, name, prepared, pixels, sealed)
        self.photos.append(photo)
        self._note(self._to_ask, self._to_read)
        return photo

    async def choose(self, setting: Setting, key: Key | None = None) -> None:
        """Another setting or key: everything is sealed and sent again, and the eavesdropper starts anew."""
        self._bound = setting.cipher.bind(key or self.key, setting.shape)
        self.key, self.setting = key or self.key, setting
        self._choice += 1
        self.readings, self.problem = [], ""
        async with self._working:
            choice, photos = self._choice, list(self.photos)
            sealed = await self._seal([photo.prepared for photo in photos])
        if choice == self._choice:
            for photo, pair in zip(photos, sealed, strict=True):
                photo.seal_again(*pair)
            await self._eavesdropper.stop()
            self._note(self._to_ask, self._to_read)

    async def clear(self) -> None:
        """Take all photos away; the eavesdropper forgets too."""
        self.photos, self.readings, self.trials, self.problem = [], [], [], ""
        self._choice += 1
        await self._eavesdropper.stop()
        await self._second.stop()
        self._note(self._to_ask, self._to_read)

    def attempt(self, setting: Setting, count: int) -> Trial:
        """Queue a trial of another setting. Raises UsageError without photos, or with too many trials."""
        if not self.photos:
            raise UsageError("there are no photos", hint="drop some first")
        if len(self.trials) >= _MAX_TRIALS:
            raise UsageError(f"there are {_MAX_TRIALS} trials", hint="clear the desk")
        self._numbers += 1
        trial = Trial(self._numbers, setting, max(1, min(count, len(self.photos))))
        self.trials.append(trial)
        self._note(self._to_try)
        return trial

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

    def _works(self) -> dict[asyncio.Event, Work]:
        return {self._to_ask: self._ask, self._to_read: self._read, self._to_try: self._try}

    def _note(self, *events: asyncio.Event) -> None:
        self.version += 1
        for event in events:
            event.set()

    async def _seal(self, prepared: Sequence[NDArray[np.uint8]]) -> list[tuple[NDArray[np.uint8], NDArray[Any]]]:
        return await asyncio.to_thread(seal, self._bound, self.setting, prepared)

    async def _meet_provider(self) -> None:
        if self.provider is None:
            return
        try:
            await self.provider.meet()
        except CipherlensError as error:
            self.provider, self.why_not = None, str(error.args[0])
        self._note(self._to_ask, self._to_read)

    async def _repeat(self, event: asyncio.Event, work: Work) -> None:
        while True:
            await event.wait()
            event.clear()
            try:
                await work()
            except CipherlensError as error:
                self.problem = str(error.args[0])
            except Exception:
                _LOG.exception("the desk failed at this")
                self.problem = "this failed; the terminal says more"
            self._note()

    async def _ask(self) -> None:
        while not self.refusal and (waiting := [photo for photo in self.photos if not photo.answer][:_ASKED]):
            assert self.provider is not None
            choice, sent = self._choice, np.stack([photo.sealed for photo in waiting])
            found = await self.provider.ask(sent, self.key.fingerprint)
            if choice == self._choice:
                for photo, row in zip(waiting, found, strict=True):
                    order = np.argsort(-row)
                    photo.answer = [(self.provider.classes[i], float(row[i])) for i in order]
                self._note()

    async def _read(self) -> None:
        choice, photos, setting = self._choice, list(self.photos), self.setting
        if not photos:
            return
        self.reads = True
        self._note()
        try:
            result, found = await self._attack(self._eavesdropper, setting, photos)
        except CipherlensError:
            if choice == self._choice:
                raise
            return
        finally:
            self.reads = False
        if choice != self._choice:
            return
        self.nothing_read = result if isinstance(result, str) else ""
        if isinstance(result, Reading):
            self.readings.append(result)
        for photo, seen in zip(photos, found, strict=False):
            photo.show_read(*seen)

    async def _attack(
        self, eavesdropper: Eavesdropper, setting: Setting, photos: Sequence[Any]
    ) -> tuple[Reading | str, list[tuple[NDArray[np.uint8], float]]]:
        """What one attack reads of photos with ``pixels`` and ``sealed``, or why nothing is read."""
        told, read = await eavesdropper.read(setting, np.stack([photo.sealed for photo in photos]))
        if told["attack"] is None:
            return str(told["reason"]), []
        plain = np.stack([photo.pixels for photo in photos])
        aligned, scores = await asyncio.to_thread(pictures.align_and_score, read, plain, told["alignment"])
        guess = await asyncio.to_thread(pictures.guess_similarity, plain)
        shown = pictures.to_bytes(aligned)
        result = Reading(len(photos), told["attack"], float(scores.mean()), guess, told["seconds"])
        return result, list(zip(shown, scores.tolist(), strict=True))

    async def _try(self) -> None:
        for trial in [trial for trial in self.trials if not trial.done]:
            chosen = self.photos[: trial.count]
            bound = trial.setting.cipher.bind(self.key, trial.setting.shape)
            sealed = await asyncio.to_thread(seal, bound, trial.setting, [photo.prepared for photo in chosen])
            parts = [Photo(0, "", photo.prepared, *pair) for photo, pair in zip(chosen, sealed, strict=True)]
            try:
                result, found = await self._attack(self._second, trial.setting, parts)
            except CipherlensError as error:
                result, found = str(error.args[0]), []
            trial.result, trial.reason = (None, result) if isinstance(result, str) else (result, "")
            grey = np.full(trial.setting.shape, 127, np.uint8)
            for number, part in enumerate(parts[:_SHOWN_OF_TRIAL]):
                trial.pictures.append((part.sealed, found[number][0] if found else grey))
            self._note()


def seal(
    bound: BoundCipher, setting: Setting, prepared: Sequence[NDArray[np.uint8]]
) -> list[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Pixels and ciphertexts of prepared photos; no two are sealed under the same image key."""
    if not prepared:
        return []
    pixels = np.stack([pictures.resize(photo, setting.size) for photo in prepared])
    ids = [f"desk/{secrets.token_hex(16)}" for _ in prepared]
    return list(zip(pixels, np.asarray(bound.encrypt(pixels, ids)), strict=True))
