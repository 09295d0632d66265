"""``cipherlens classes``: which classes to encrypt, so that no pretrained network has seen them."""

from pathlib import Path

from cipherlens.cli.console import emit
from cipherlens.cli.options.types import Json, OptionalWhole, Whole
from cipherlens.errors import UsageError
from cipherlens.files import write_atomic


def classes(
    source: str,
    /,
    *,
    pretrained_on: str = "imagenet-1k",
    hierarchy: Path | None = None,
    least: Whole = 0,
    count: OptionalWhole = None,
    out: Path | None = None,
    as_json: Json = False,
) -> None:
    """Choose classes of an ImageNet-21k folder that lie outside a pretraining set, for encrypt --classes @FILE.

    Parameters
    ----------
    source
        Image folder whose classes are named by synset (n01440764); or imagenet-21k, to see its classes alone.
    pretrained_on
        imagenet-1k, imagenet-12k, imagenet-21k, or a file of synsets.
    hierarchy
        WordNet 3.0's data.noun, or PARENT CHILD lines: also leaves out hypernyms and hyponyms of the pretraining
        classes, and classes that mix kinds of objects.
    least
        Leave out classes with fewer images.
    count
        At most so many classes, evenly spread.
    out
        File to write, a class a line.
    """
    from cipherlens.data.sources.imagenet21k import choose_from, describe_synsets

    choice = choose_from(source, pretrained_on, hierarchy, least, count)
    if out is not None:
        if not out.parent.is_dir():
            raise UsageError(f"there is no folder {out.parent}")
        write_atomic(out, "".join(f"{synset}\n" for synset in choice.chosen).encode())
    names = describe_synsets(choice.chosen)
    lines = [f"{synset}  {name}" for synset, name in names.items()]
    summary = f"{len(choice.chosen)} classes; left out: {choice.explain() or 'none'}"
    written = {} if out is None else {"out": str(out)}
    emit({"classes": names, "left_out": choice.left_out, **written}, as_json, [*lines, summary])
