"""A network trained on natural images, with its input normalisation, for an attack."""

from pathlib import Path
from typing import TYPE_CHECKING

from cipherlens.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from cipherlens.training.engine.normalization import Normalization
    from cipherlens.training.run.load import Run

    PriorNetwork = tuple[nn.Module, Normalization]


def load_prior_network(network: str, weights: Path | None, shape: tuple[int, int, int]) -> "PriorNetwork":
    """The network for images of ``shape`` (C, H, W), and its input normalisation.

    ``network`` is a run folder on plain images, or the name of a timm model. Its weights come from the file
    ``weights``, or are downloaded where that is None. Raises UsageError for a run on encrypted images.
    """
    from cipherlens.models import create_model
    from cipherlens.training.front_end.start import choose_range

    if Path(network).is_dir():
        if weights is not None:
            raise UsageError("a run has weights of its own", hint="leave weights away", parameters=("weights",))
        run = load_plain_run(Path(network))
        return run.model, run.normalization
    channels, height, width = shape
    model = create_model(
        network,
        num_classes=1,  # the classifier is not used
        in_chans=channels,
        pretrained=weights is None,
        weights=weights,
        image_size=(height, width),
    )
    return model, choose_range(model, channels, True)


def load_plain_run(path: Path) -> "Run":
    """A run on plain images; UsageError for any other."""
    from cipherlens.training.run.load import load_run

    run = load_run(path, "last")
    if run.provenance.get("cipher") != "identity":
        raise UsageError(f"{path} was not trained on plain images", hint="give a run that was")
    return run
