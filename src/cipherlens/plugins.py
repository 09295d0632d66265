"""Installed packages that add ciphers or attacks: entry points, loaded only when one of them is asked for."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from cipherlens.errors import UsageError


@dataclass(frozen=True)
class Plugins:
    """The entry points of one group, such as ``cipherlens.ciphers``. Loading one registers it."""

    group: str

    def names(self) -> list[str]:
        """Names that installed packages offer. Nothing is loaded."""
        return sorted({entry.name for entry in self._list()})

    def find_package(self, name: str) -> str:
        """The installed package that offers a name, with its version; "cipherlens" where none does."""
        entry = next((entry for entry in self._list() if entry.name == name), None)
        if entry is None or entry.dist is None:
            return "cipherlens"
        return f"{entry.dist.name} {entry.dist.version}"

    def load(self, name: str) -> None:
        """Load what a package offers under this name, if one does. Raises UsageError, naming it, if that fails."""
        for entry in self._list():
            if entry.name == name:
                try:
                    entry.load()
                except Exception as error:  # somebody else's code may raise anything
                    raise UsageError(
                        f"the package {self.find_package(name)} cannot load {name}: {error!r}",
                        hint="update or remove the package",
                    ) from error

    def _list(self) -> list[EntryPoint]:
        return list(entry_points(group=self.group))
