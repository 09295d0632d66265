"""Training on the command line: the fields of TrainConfig by their own names, and where a front end comes from."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from cipherlens.cli.options.types import (
    FRONT_END,
    LOCK,
    MODEL,
    PICTURES,
    TRAINING,
    WORK,
    Flag,
    OptionalWhole,
    Whole,
)

FrontEnd = Annotated[Path | None, Parameter(name=("--front-end", "--inverse"))]


@Parameter(name="*", group=MODEL)
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The network."""

    model: str = "preresnet20"
    """preresnet20, preresnet110, vgg16_cifar, or any timm model; unet, unet-small for data with masks. speednet
    learns much in few epochs on a CPU, and comes with settings of its own for what you leave away."""
    small_stem: Flag = False
    """For 32x32 images: ResNets and DenseNets with a 3x3 stem and no pooling, ConvNeXts with 2x2 patches."""
    pretrained: Flag = False
    """Pretrained backbone from timm's hub."""
    weights: Path | None = None
    """Pretrained backbone from a local .safetensors or .pth file."""
    normalize: Literal["standardize", "imagenet", "none"] = "standardize"
    """standardize: by mean and deviation of the training images; imagenet: by those of ImageNet's photos."""

    def get_fields(self) -> dict[str, Any]:
        """Fields of TrainConfig."""
        return asdict(self) | {"weights": None if self.weights is None else str(self.weights)}


@Parameter(name="*", group=TRAINING)
@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How weights are found; None is left to the model's recipe."""

    epochs: Whole = 10
    """Epochs per round."""
    rounds: Whole = 1
    """Multi-round training: each round keeps the adaptation network and starts a fresh backbone."""
    batch_size: OptionalWhole = None
    """Images per step, of all processes together; 128 by default."""
    accumulate: Whole = 1
    """Compute each step in so many parts, which takes less memory."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd has Nesterov momentum."""
    lr: float | None = None
    """Peak learning rate; 0.1 for sgd and 0.001 for adamw by default."""
    schedule: Literal["onecycle", "triangular", "cosine", "constant"] | None = None
    """How the learning rate moves; onecycle by default."""
    momentum: float | None = None
    """Of sgd; 0.9 by default."""
    weight_decay: float | None = None
    """How much weights shrink with each step; 0.0005 by default."""
    bias_lr_scale: float | None = None
    """Factor of the learning rate of BatchNorm's biases; 1 by default."""
    label_smoothing: float | None = None
    """Probability that the labels give to the other classes; 0 by default."""
    lookahead: bool | None = None
    """Train slow weights that follow those of the optimizer."""
    patience: Whole = 0
    """End a round after so many epochs without progress; 0 is never."""
    seed: Whole = 0
    """Decides all random numbers: the same seed gives the same run."""

    def get_fields(self) -> dict[str, Any]:
        """Fields of TrainConfig that were asked for, or hold anyway."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@Parameter(name="*", group=PICTURES)
@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """What changes pictures; None is left to the model's recipe."""

    flip: bool | None = None
    """Show each image mirrored in every second epoch."""
    shift: OptionalWhole = None
    """Shift each image by up to so many pixels."""
    views: Literal[1, 2, 6] | None = None
    """Test on so many views of each picture: 2 are it and its mirror image, 6 these shifted by a pixel too."""

    def get_fields(self) -> dict[str, Any]:
        """Fields of TrainConfig that were asked for."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@Parameter(name="*", group=FRONT_END)
@dataclass(frozen=True, kw_only=True)
class FrontEndOptions:
    """The adaptation network before the model."""

    adapt: Flag = False
    """Put the adaptation network in front, with the cipher's block."""
    adapt_block: OptionalWhole = None
    """The same with another block."""
    adaptation: Literal["er", "le", "ele", "pe"] = "er"
    """With --adapt: the adaptation network of ER-CNN, LE, ELE or PE."""
    start: Literal["random", "whitened", "ciphertexts", "inverse"] | None = None
    """Where it starts: random numbers; the map that whitens ciphertext blocks, behind which a rotation is learned;
    the map that an attack finds from the training ciphertexts (the default where there is one); or a map in a file.
    From the last two on, the run can decrypt."""
    public: str | None = None
    """With --start ciphertexts: a source of photos like the encrypted ones, so that the attack knows such."""
    front_end: FrontEnd = None
    """With --start inverse: the map, from attack --save-map, or from invert (the upper bound)."""
    adapt_lr: float | None = None
    """Peak learning rate of the adaptation network; 0 leaves it as it starts, the default where it starts from a
    map. From random numbers it is that of the model."""
    warm_up: Whole = 0
    """Train the adaptation network and the classifier alone for so many epochs of each round; with --epochs or more
    the backbone is never trained."""
    legacy_padding: Flag = False
    """Put its windows off the cipher's grid, as the report's public code does."""

    def get_fields(self) -> dict[str, Any]:
        """What ``recommend`` takes, by its names."""
        fields = asdict(self)
        file = fields.pop("front_end")
        return fields | {"inverse": None if file is None else str(file)}


@Parameter(name="*", group=LOCK)
@dataclass(frozen=True, kw_only=True)
class LockOptions:
    """What is shuffled inside a locked model."""

    inner: Literal["shuffled", "plain"] | None = None
    """Whether feature maps inside the model are shuffled too (the default), or only the input."""


@Parameter(name="*", group=WORK)
@dataclass(frozen=True, kw_only=True)
class HardwareOptions:
    """What a training runs on."""

    threads: Whole = 0
    """CPU threads; 0 leaves it to torch."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """auto is bf16 where the processor has it."""
