"""What lies folded away in docs/questions/*.md: the sections that answer one question, from the records."""

from collections.abc import Callable
from pathlib import Path

from accuracy_results import accuracy
from attack_results import learned, pairs, permutations, puzzles
from cipher_results import comparison, folding, jpeg, throughput
from committed import ROOT, fold, put
from covariance_results import covariance
from export_results import section as exports
from figures import fill
from front_end_results import list_sections
from fuzz_results import section as inputs
from leakage_results import apart, leaderboard
from locked_results import equality, experiment, pretrained
from locked_results import speed as locked_speed
from overview_tables import list_all_ciphers, list_attacks
from prior_matrix import prior_matrix
from scheme_paragraphs import paragraphs
from service_results import section as service
from speed_results import speed

DOCS = ROOT / "docs"
LEAKAGE = "leakage-cpu.json"
Section = Callable[[], str]


def access() -> str:
    title = "Classification with and without the key (PrivDL's first table, VGG-16; published after 200 epochs)"
    return experiment("privdl-access", title)


def access_110() -> str:
    return experiment("privdl-access-110", "The same with PreResNet-110 (of PrivDL's second table)")


def segmentation() -> str:
    return experiment("privdl-segmentation", "Segmentation with and without the key")


PAGES: dict[str, dict[str, tuple[Section, ...]]] = {
    "questions/accuracy.md": {
        "sealed": (accuracy, comparison),
        "locked": (access, access_110, pretrained, segmentation, equality, folding),
    },
    "questions/leaks.md": {
        "covariance": (prior_matrix, covariance),
        "schemes": (lambda: leaderboard(LEAKAGE), lambda: apart(LEAKAGE)),
        "attacks": (pairs, permutations, puzzles, learned),
    },
    "questions/cost.md": {
        "sealing": (throughput, jpeg),
        "models": (locked_speed, exports),
        "service": (service,),
        "commands": (speed,),
    },
    "questions/scheme.md": {"schemes": (lambda: paragraphs(LEAKAGE),)},
    "attacks.md": {"attacks": (list_attacks,)},
    "ciphers.md": {"ciphers": (list_all_ciphers,)},
    "reference/hostile-inputs.md": {"inputs": (inputs,)},
}


def write_pages() -> dict[Path, str]:
    """The hand-written pages, with their generated sections as the records have them today."""
    return {DOCS / name: write_page(DOCS / name, places) for name, places in PAGES.items()}


def write_page(path: Path, places: dict[str, tuple[Section, ...]]) -> str:
    page = path.read_text()
    for place, sections in places.items():
        shown = [section() for section in sections]
        if not all(shown):
            raise SystemExit(f"docs/{path.relative_to(DOCS)}: a section of {place!r} is empty: is its record gone?")
        page = put(page, place, "\n".join(made if made.startswith("|") else fold(made) for made in shown))
    if path.name == "accuracy.md":
        page = put(page, "front-ends", "\n".join(map(fold, list_sections())))
    filled, problems = fill(page)
    if problems:
        raise SystemExit("\n".join(f"{path.name}: {problem}" for problem in problems))
    return filled
