"""All targets by name."""

from tests.security.fuzz.target import Target
from tests.security.fuzz.targets_broken import BrokenTarget
from tests.security.fuzz.targets_cli import CliTarget, ProcessTarget
from tests.security.fuzz.targets_config import ConfigTarget
from tests.security.fuzz.targets_images import ImageTarget
from tests.security.fuzz.targets_journal import JournalTarget, NewJournalTarget, RotationTarget
from tests.security.fuzz.targets_keys import KeyTarget
from tests.security.fuzz.targets_maps import MapTarget
from tests.security.fuzz.targets_runs import RunTarget
from tests.security.fuzz.targets_sealed import ManifestTarget, ShardTarget
from tests.security.fuzz.targets_service import AnswerTarget, RequestTarget
from tests.security.fuzz.targets_tables import CifarTarget, ParquetTarget

IN_PROCESS: tuple[type[Target], ...] = (
    *(KeyTarget, ManifestTarget, ShardTarget, JournalTarget, RunTarget, ImageTarget, ParquetTarget, CifarTarget),
    *(ConfigTarget, NewJournalTarget, RotationTarget, MapTarget, RequestTarget, AnswerTarget),
)
COMMAND_LINE: tuple[type[Target], ...] = (CliTarget, ProcessTarget)
TARGETS: dict[str, type[Target]] = {kind.name: kind for kind in (*IN_PROCESS, *COMMAND_LINE, BrokenTarget)}
