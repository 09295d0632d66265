"""``cl.adapt``: let a trained model answer on images under one more key."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cipherlens.api.datasets import Sealed, choose_train_split, open_dataset
from cipherlens.api.joint import create_owner
from cipherlens.api.start import find_maps, note_can_decrypt
from cipherlens.ciphers.estimated_inverse import EstimatedInverse

if TYPE_CHECKING:
    from cipherlens.training.run.record import RunRecord


def adapt(
    run: str | Path,
    sealed: Sealed,
    *,
    out: str | Path,
    public: str | None = None,
    front_end: str | Path | None = None,
    weights: str | Path | None = None,
    split: str | None = None,
    seed: int = 0,
) -> "RunRecord":
    """Put a front end for the images' key before a trained model, and write both to the new folder ``out``.

    Nothing is trained: the front end is the map that an attack finds from the ciphertexts of ``split`` (the
    training images, if there are some), with photos of the source ``public`` as prior; or the map in the file
    ``front_end``. Whoever has the new run can decrypt. ``run`` is a run folder, trained on plain images or from a
    map; or the name of a timm model, whose ``weights`` come from a local file, or else from timm's hub.

    Returns the new run's record. Raises UsageError for a run that cannot be adapted, or a folder that is not new;
    DataError or ShapeError for images that do not fit.
    """
    from cipherlens.training.front_end.adapt import adapt_run
    from cipherlens.training.front_end.maps import load_map
    from cipherlens.training.front_end.pretrained import adapt_pretrained

    dataset = open_dataset(sealed)
    name, out = split or choose_train_split(dataset), Path(out)
    start: dict[str, Any] = {"start": "ciphertexts", "public": public}
    if front_end is not None:
        start = {"start": "inverse", "inverse": str(front_end)}

    def find() -> EstimatedInverse:
        if front_end is not None:
            return load_map(Path(front_end), dataset.spec.to_json())
        return find_maps([dataset], name, public, seed)[0]

    owner, images = create_owner(dataset, name, "standardize"), dataset.split(name)
    if Path(run).exists():
        record = adapt_run(Path(run), out, owner, images, find, start)
    else:
        file = None if weights is None else Path(weights)
        record = adapt_pretrained(str(run), file, out, owner, images, find, start)
    note_can_decrypt(out)
    return record
