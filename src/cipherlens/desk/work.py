"""What goes on behind the desk: the provider is asked, the eavesdropper reads, trials are made."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.desk import pictures
from cipherlens.desk.desk import Desk, seal
from cipherlens.desk.roles.handles import Eavesdropper
from cipherlens.desk.setting import Setting
from cipherlens.desk.state import Photo, Reading, Trial, describe
from cipherlens.errors import CipherlensError, DataError, UsageError

_ASKED = 16
"""Ciphertexts that the provider is asked about at a time."""
_PAUSE = 2.0
"""Seconds after which a provider that does not answer is asked again."""
_SHOWN = 3
"""Photos of a trial that are shown."""
Job = Callable[[], Coroutine[Any, Any, None]]
_LOG = logging.getLogger(__name__)


class Work:
    """The work of one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def run(self) -> None:
        """Ask, read and try, until it is cancelled."""
        jobs = {self._desk.to_ask: self._ask, self._desk.to_read: self._read, self._desk.to_try: self._try}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._attempt(self._meet_provider))
            for event, job in jobs.items():
                tasks.create_task(self._repeat(event, job))

    async def _meet_provider(self) -> None:
        desk = self._desk
        if desk.provider is None:
            return
        try:
            await desk.provider.meet()
        except CipherlensError as error:
            await desk.provider.stop()
            desk.provider, desk.why_not = None, describe(error)
        desk.note(desk.to_ask, desk.to_read)

    async def _repeat(self, event: asyncio.Event, job: Job) -> None:
        while True:
            await event.wait()
            event.clear()
            await self._attempt(job)

    async def _attempt(self, job: Job) -> None:
        """Do something; where it fails, the page says so and everything else goes on."""
        try:
            await job()
        except Exception as error:
            if not isinstance(error, CipherlensError):
                _LOG.exception("the desk failed at this")
            self._desk.problem = describe(error)
        self._desk.note()

    async def _ask(self) -> None:
        desk, size = self._desk, _ASKED
        while not desk.refusal and (waiting := desk.list_unanswered()[:size]):
            assert desk.provider is not None
            choice, sent = desk.choice, np.stack([photo.sealed for photo in waiting])
            try:
                found = await desk.provider.ask(sent, desk.key.fingerprint)
            except DataError as error:  # it is known of which when they are sent singly
                if choice == desk.choice and size == 1:
                    waiting[0].refused = describe(error)
                size = 1
            except CipherlensError as error:
                desk.problem = describe(error) if choice == desk.choice else ""
                desk.note()
                await asyncio.sleep(_PAUSE)
            else:
                if choice == desk.choice:
                    desk.problem = ""
                    for photo, row in zip(waiting, found, strict=True):
                        photo.answer = [(desk.provider.classes[i], float(row[i])) for i in np.argsort(-row)]
            desk.note()

    async def _read(self) -> None:
        desk = self._desk
        choice, photos, setting = desk.choice, desk.sent, desk.setting
        if not photos:
            return
        desk.reads = True
        desk.note()
        try:
            result, found = await self._attack(desk.eavesdropper, setting, photos)
        except CipherlensError:
            if choice == desk.choice:
                raise
            return
        finally:
            desk.reads = False
        if choice != desk.choice:
            return
        desk.nothing_read = result if isinstance(result, str) else ""
        if isinstance(result, Reading):
            desk.readings.append(result)
        for photo, seen in zip(photos, found, strict=False):
            photo.show_read(*seen)

    async def _attack(
        self, eavesdropper: Eavesdropper, setting: Setting, photos: Sequence[Any]
    ) -> tuple[Reading | str, list[tuple[NDArray[np.uint8], float]]]:
        """What one attack reads of photos with ``pixels`` and ``sealed``, or why nothing is read."""
        told, read = await eavesdropper.read(setting, np.stack([photo.sealed for photo in photos]))
        if told["attack"] is None:
            return str(told["reason"]), []
        plain = np.stack([photo.pixels for photo in photos[: len(read)]])
        aligned, scores = await asyncio.to_thread(pictures.align_and_score, read, plain, told["alignment"])
        guess = await asyncio.to_thread(pictures.guess_similarity, plain)
        shown = pictures.to_bytes(aligned)
        result = Reading(len(read), told["attack"], float(scores.mean()), guess)
        return result, list(zip(shown, scores.tolist(), strict=True))

    async def _try(self) -> None:
        for trial in [trial for trial in self._desk.trials if not trial.done]:
            try:
                await self._try_one(trial)
            except Exception as error:
                trial.reason = describe(error)
            self._desk.note()

    async def _try_one(self, trial: Trial) -> None:
        desk, setting = self._desk, trial.setting
        chosen = desk.photos[: trial.count]
        if not chosen:
            raise UsageError("the photos were taken away")
        bound = setting.cipher.bind(desk.key, setting.shape)
        sealed = await asyncio.to_thread(seal, bound, setting, [photo.prepared for photo in chosen])
        parts = [Photo(0, "", photo.prepared, *pair) for photo, pair in zip(chosen, sealed, strict=True)]
        result, found = await self._attack(desk.second, setting, parts)
        grey = np.full(setting.shape, 127, np.uint8)
        for number, part in enumerate(parts[:_SHOWN]):
            trial.pictures.append((part.sealed, found[number][0] if number < len(found) else grey))
        trial.result, trial.reason = (None, result) if isinstance(result, str) else (result, "")
