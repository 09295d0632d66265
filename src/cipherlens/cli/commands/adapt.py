"""Front ends on the command line: from where training starts, and ``adapt``, which trains nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cipherlens.api.front_end import choose_network, explain_refusal, find_map
from cipherlens.cli.console import emit, say
from cipherlens.cli.options.training import FrontEnd, FrontEndOptions
from cipherlens.cli.options.types import Json, Whole
from cipherlens.cli.runs import open_sealed
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.manifest import DatasetSpec
from cipherlens.errors import UsageError

if TYPE_CHECKING:
    from cipherlens.ciphers.estimated_inverse import EstimatedInverse


def choose_start(
    datasets: Sequence[SealedDataset], split: str, options: FrontEndOptions, locked: bool = False
) -> dict[str, Any]:
    """Fields of TrainConfig: the adaptation network and its start; from ciphertexts if it can, unless asked.

    Says aloud why it cannot.
    """
    asked, file, block = options.start, options.front_end, options.block
    network = {
        "adapt_block": block,
        "adaptation": options.adaptation,
        "legacy_padding": options.legacy_padding,
    }
    if block is None:  # with a start or a file this is refused, by what it lacks
        return network | {"start": asked or "random", "inverse": None if file is None else str(file)}
    if file is not None and asked not in (None, "inverse"):
        raise UsageError(f"--start {asked} takes no --front-end", hint="leave one of them away")
    if file is not None:
        return network | _choose_for_file(file, block) | {"start": "inverse", "inverse": str(file)}
    if asked == "inverse":
        raise UsageError("--start inverse needs the file", hint="give --front-end MAP")
    if asked == "whitened":
        return network | _choose_whitened(datasets, block, options.adaptation)
    if options.adaptation == "er" and not locked and asked != "random":
        reason = _explain_refusal(datasets, split, block, options.legacy_padding)
        if reason is None:
            kind, own = choose_network(datasets[0].spec)
            return network | {"start": "ciphertexts", "adapt_block": own, "adaptation": kind}
        if asked == "ciphertexts":
            raise UsageError(f"cannot start from ciphertexts: {reason}", hint="use --start random")
        say(f"note: the adaptation network starts from random numbers: {reason}")
    return network | {"start": asked or "random", "adapt_block": block or get_block(datasets[0].spec)}


def _choose_whitened(datasets: Sequence[SealedDataset], block: int, adaptation: str) -> dict[str, Any]:
    if len(datasets) > 1 or adaptation != "er":
        raise UsageError("--start whitened is for one data set, without --adaptation", hint="use --start random")
    return {"start": "whitened", "adapt_block": block or get_block(datasets[0].spec)}


def get_block(spec: DatasetSpec) -> int:
    """The block of a scheme. Raises UsageError where it has none."""
    kind, block = choose_network(spec)
    if kind != "er":
        raise UsageError(f"{spec.cipher} has no block", hint="name one with --adapt-block")
    return block


def _explain_refusal(datasets: Sequence[SealedDataset], split: str, block: int, legacy_padding: bool) -> str | None:
    if legacy_padding:
        return "its windows are off the grid"
    for dataset in datasets:
        reason = explain_refusal(dataset, split)
        if reason is not None:
            return reason
    if block and any(choose_network(dataset.spec) != ("er", block) for dataset in datasets):
        return f"its windows are {block}x{block}, not the cipher's"
    return None


def _choose_for_file(path: Path, block: int | None) -> dict[str, Any]:
    from cipherlens.ciphers.estimated_inverse import EstimatedInverse
    from cipherlens.training.front_end.start import get_adaptation

    kind, own = get_adaptation(EstimatedInverse.load(path))
    if block and block != own:
        raise UsageError(f"{path} is for blocks of {own}, not {block}", hint="use the cipher's block (--adapt)")
    return {"adapt_block": own, "adaptation": kind}


def find_maps(
    datasets: Sequence[SealedDataset], split: str, public: str | None, seed: int
) -> "list[EstimatedInverse]":
    """The maps that training starts from, found now from each data set."""
    found = []
    for dataset in datasets:
        say(f"reading {dataset.root} from its ciphertexts ...")
        found.append(find_map(dataset, split, public, seed))
    return found


def say_can_decrypt(run: Path) -> None:
    """Warn that the run's weights are as good as the key."""
    say(f"note: {run} can decrypt the images: treat the folder like the key")


def adapt(
    run: str,
    sealed: Path,
    /,
    *,
    out: Path,
    public: str | None = None,
    front_end: FrontEnd = None,
    weights: Path | None = None,
    split: str | None = None,
    seed: Whole = 0,
    as_json: Json = False,
) -> None:
    """Let a trained model answer on images under one more key: a front end is put before it, nothing is trained.

    The front end is the map that an attack finds from the ciphertexts. Whoever has the new run can decrypt.

    Parameters
    ----------
    run
        Run folder, trained on plain images or from a map; or the name of a timm model with pretrained weights.
    sealed
        Folder made by encrypt, with the run's classes; for a timm model, named like ImageNet's.
    out
        New run folder.
    public
        A source of photos like the encrypted ones, so that the attack knows such photos.
    front_end
        A map from attack --save-map or from invert, instead of finding one.
    weights
        For a timm model: its weights in a local .safetensors or .pth file, instead of timm's hub.
    split
        Ciphertexts to look at; train, if there is such a split.
    seed
        Decides the attack's random numbers.
    """
    from cipherlens.api.joint import create_owner
    from cipherlens.training.front_end.adapt import adapt_run
    from cipherlens.training.front_end.maps import load_map
    from cipherlens.training.front_end.pretrained import adapt_pretrained

    dataset = open_sealed(sealed, None)
    name = split or ("train" if "train" in dataset.splits else next(iter(dataset.splits)))
    start: dict[str, Any] = {"start": "ciphertexts", "public": public}
    if front_end is not None:
        start = {"start": "inverse", "inverse": str(front_end)}

    def find() -> "EstimatedInverse":
        if front_end is not None:
            return load_map(front_end, dataset.spec.to_json())
        return find_maps([dataset], name, public, seed)[0]

    owner, images = create_owner(dataset, name, "standardize"), dataset.split(name)
    if Path(run).exists():
        record = adapt_run(Path(run), out, owner, images, find, start)
    else:
        record = adapt_pretrained(run, weights, out, owner, images, find, start)
    say_can_decrypt(out)
    keys = [one.provenance["key_fingerprint"] for one in record.owners] or [owner.provenance["key_fingerprint"]]
    emit(
        {"out": str(out), "model": record.config.model, "cipher": dataset.spec.cipher, "keys": keys},
        as_json,
        [f"{out}: {record.config.model} behind a front end for {dataset.spec.cipher}, keys {', '.join(keys)}"],
    )


COMMANDS = (adapt,)
