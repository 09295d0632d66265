"""Seal a folder from the page, with progress."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from cipherlens.data.images import Preprocess
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.desk.setting import Setting
from cipherlens.desk.state import describe
from cipherlens.keys import Key


@dataclass(eq=False)
class FolderJob:
    """Sealing in a thread. ``told``: how it ended."""

    source: Path
    out: Path
    done: int = 0
    all: int = 0
    told: str = ""
    _thread: threading.Thread | None = field(default=None, repr=False)

    @property
    def runs(self) -> bool:
        """Whether it is still at work."""
        return not self.told

    def start(self, setting: Setting, key: Key) -> None:
        """Begin. What is interrupted is continued by the same job, here or on the command line."""
        self._thread = threading.Thread(target=self._run, args=(setting, key), daemon=True)
        self._thread.start()

    def _run(self, setting: Setting, key: Key) -> None:
        def note(done: int, everything: int) -> None:
            self.done, self.all = done, everything

        try:
            options = SealOptions(Preprocess(setting.size), on_error="skip")
            report = seal(str(self.source), self.out, setting.cipher, key, options, note)
        except Exception as error:
            self.told = describe(error)
        else:
            skipped = f", {len(report.skipped)} could not be decoded" if report.skipped else ""
            self.told = f"{self.out} is sealed{skipped}"
