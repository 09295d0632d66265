"""What goes on behind the desk: the provider is asked, the eavesdropper reads, trials are made."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.desk import pictures
from cipherlens.desk.desk import Desk, seal
from cipherlens.desk.roles import Eavesdropper
from cipherlens.desk.setting import Setting
from cipherlens.desk.state import Photo, Reading
from cipherlens.errors import CipherlensError

_ASKED = 16
"""Ciphertexts that the provider is asked about at a time."""
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
            desk.provider, desk.why_not = None, str(error.args[0])
        desk.note(desk.to_ask, desk.to_read)

    async def _repeat(self, event: asyncio.Event, job: Job) -> None:
        while True:
            await event.wait()
            event.clear()
            await self._attempt(job)

    async def _attempt(self, job: Job) -> None:
        """Do something; where it fails, the page says so and everything else goes on."""
        desk = self._desk
        try:
            await job()
        except CipherlensError as error:
            desk.problem = str(error.args[0])
        except Exception:
            _LOG.exception("the desk failed at this")
            desk.problem = "this failed; the terminal says more"
        desk.note()

    async def _ask(self) -> None:
        desk = self._desk
        while not desk.refusal and (waiting := [photo for photo in desk.sent if not photo.answer][:_ASKED]):
            assert desk.provider is not None
            choice, sent = desk.choice, np.stack([photo.sealed for photo in waiting])
            found = await desk.provider.ask(sent, desk.key.fingerprint)
            if choice == desk.choice:
                for photo, row in zip(waiting, found, strict=True):
                    order = np.argsort(-row)
                    photo.answer = [(desk.provider.classes[i], float(row[i])) for i in order]
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
        plain = np.stack([photo.pixels for photo in photos])
        aligned, scores = await asyncio.to_thread(pictures.align_and_score, read, plain, told["alignment"])
        guess = await asyncio.to_thread(pictures.guess_similarity, plain)
        shown = pictures.to_bytes(aligned)
        result = Reading(len(photos), told["attack"], float(scores.mean()), guess, told["seconds"])
        return result, list(zip(shown, scores.tolist(), strict=True))

    async def _try(self) -> None:
        desk = self._desk
        for trial in [trial for trial in desk.trials if not trial.done]:
            chosen = desk.photos[: trial.count]
            bound = trial.setting.cipher.bind(desk.key, trial.setting.shape)
            sealed = await asyncio.to_thread(seal, bound, trial.setting, [photo.prepared for photo in chosen])
            parts = [Photo(0, "", photo.prepared, *pair) for photo, pair in zip(chosen, sealed, strict=True)]
            try:
                result, found = await self._attack(desk.second, trial.setting, parts)
            except CipherlensError as error:
                result, found = str(error.args[0]), []
            trial.result, trial.reason = (None, result) if isinstance(result, str) else (result, "")
            grey = np.full(trial.setting.shape, 127, np.uint8)
            for number, part in enumerate(parts[:_SHOWN]):
                trial.pictures.append((part.sealed, found[number][0] if found else grey))
            desk.note()
