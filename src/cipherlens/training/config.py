"""What a training run is asked to do."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from typing import Any, get_type_hints

from cipherlens.ciphers.blocks import MAX_BLOCK
from cipherlens.errors import UsageError, unknown_name
from cipherlens.models.adaptation.kinds import ADAPTATIONS, MAP_HOLDERS

CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adamw"),
    "schedule": ("onecycle", "triangular", "cosine", "constant"),
    "precision": ("auto", "float32", "bf16"),
    "normalize": ("standardize", "imagenet", "none"),
    "lock": ("shuffled", "plain"),
    "adaptation": ADAPTATIONS,
    "start": ("random", "whitened", "ciphertexts", "inverse"),
}
MINIMA = dict.fromkeys(("epochs", "rounds", "batch_size", "accumulate"), 1)
MINIMA |= dict.fromkeys(("seed", "patience", "threads", "warm_up", "shift", "norm_images"), 0)
VIEWS = (1, 2, 6)
READING = ("ciphertexts", "inverse")
"""Starts from a map that reads the images."""
DEFAULT_LR = {"sgd": 0.1, "adamw": 1e-3}


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides the weights a run ends with; impossible values raise UsageError.

    ``rounds`` > 1 is multi-round training: every round starts a fresh backbone (with its pretrained weights,
    if asked for) and keeps the adaptation network of the round before; ``epochs`` counts per round, and the
    schedule starts anew. ``lr`` is the peak learning rate (None: 0.1 for sgd, 0.001 for adamw). ``weights``
    is a local file for the backbone. ``precision`` "auto" is bf16 where the processor has it.
    ``patience`` ends a round after that many epochs without a better test accuracy or IoU (0: never).
    Each batch of ``batch_size`` images is computed in ``accumulate`` parts, for less memory, and each part by all
    processes together. BatchNorm sees one part at a time.
    ``threads`` is the number of CPU threads (0: torch's choice); it is not compared on resuming, but weights
    are only bit-identical at the same number. ``lock`` trains a model locked to the client's pixel permutation,
    with the feature maps inside "shuffled" or "plain" (None: the model as it is). ``warm_up`` epochs of each round
    train the adaptation network and the classifier alone, with the backbone frozen. ``start`` says from where the
    adaptation network starts in the first round: "random" numbers, from "whitened" ciphertext blocks, from a map
    that is found from the training "ciphertexts" (with photos of the source ``public`` as prior, or the built-in
    one), or from a map in the file ``inverse``. ``adapt_lr`` is its peak learning rate (None: 0 from a map, else
    that of the backbone; 0: it stays as it starts).
    ``adaptation`` is the kind of network: that of ER-CNN, LE, ELE or PE, "positions", for pixel permutations, or
    "whitened", which whitens blocks and learns a rotation.
    ``legacy_padding`` puts ER-CNN's windows off the cipher's grid, as the report's code does.
    ``momentum`` is that of sgd. ``bias_lr_scale`` multiplies the learning rate of BatchNorm's biases,
    which then decay too.
    ``lookahead`` trains slow weights that follow. ``flip`` and ``shift`` (at most so many pixels) change what the
    classifier sees of training images, ``views`` averages its logits over so many views of a test image (2:
    mirrored too, 6: these also shifted by a pixel). All three are for pictures: plain images, or those that an
    adaptation network reads. ``norm_images``: BatchNorm's statistics are measured before each test, on so many
    training images (0: they stay running averages, which are far off after few steps).
    """

    model: str
    adapt_block: int | None = None
    small_stem: bool = False
    pretrained: bool = False
    weights: str | None = None
    epochs: int = 10
    rounds: int = 1
    batch_size: int = 128
    accumulate: int = 1
    optimizer: str = "sgd"
    lr: float | None = None
    weight_decay: float = 5e-4
    schedule: str = "onecycle"
    label_smoothing: float = 0.0
    seed: int = 0
    precision: str = "auto"
    normalize: str = "standardize"
    patience: int = 0
    threads: int = 0
    lock: str | None = None
    warm_up: int = 0
    start: str = "random"
    public: str | None = None
    inverse: str | None = None
    adapt_lr: float | None = None
    legacy_padding: bool = False
    adaptation: str = "er"
    momentum: float = 0.9
    bias_lr_scale: float = 1.0
    lookahead: bool = False
    flip: bool = False
    shift: int = 0
    views: int = 1
    norm_images: int = 0

    def __post_init__(self) -> None:
        _check_types(self)
        if self.inverse is not None and self.start == "random":  # the file alone says it, as it did before start
            object.__setattr__(self, "start", "inverse")
        if self.start == "whitened" and self.adaptation == "er":  # a start for this network alone
            object.__setattr__(self, "adaptation", "whitened")
        for field, choices in CHOICES.items():
            value = getattr(self, field)
            if value not in choices and not (field == "lock" and value is None):
                raise unknown_name(field, value, choices)
        for field, minimum in MINIMA.items():
            value = getattr(self, field)
            if value is not None and value < minimum:
                raise UsageError(f"{field} must be at least {minimum}, got {value}")
        _check_block(self.adapt_block)
        _check_numbers(self)
        if self.lock is not None and self.changes_pictures:
            raise UsageError("a locked model sees shuffled pixels", hint="drop flip, shift and views")
        if self.lookahead and self.patience:
            raise UsageError("lookahead meets its slow weights at a known end", hint="set patience to 0")
        _check_adaptation(self)
        if self.rounds > 1 and self.adapt_block is None:
            raise UsageError(
                "several rounds without an adaptation network have nothing to carry over",
                hint="set adapt_block to the cipher's block size, or rounds to 1",
            )

    @property
    def can_decrypt(self) -> bool:
        """Whether the adaptation network starts from a map that reads the images: the weights are a key then."""
        return self.start in READING

    @property
    def changes_pictures(self) -> bool:
        """Whether images must be pictures: they are flipped or shifted."""
        return self.flip or self.shift > 0 or self.views > 1

    def keep_pixels(self) -> "TrainConfig":
        """The same settings for images that are no pictures: nothing is flipped or shifted."""
        return replace(self, flip=False, shift=0, views=1)

    @property
    def front_end_lr(self) -> float | None:
        """The adaptation network's own peak learning rate, None for that of the backbone.

        A map is right from the start, and the rates that a fresh network needs would blur it.
        """
        return 0.0 if self.adapt_lr is None and self.can_decrypt else self.adapt_lr

    @property
    def peak_lr(self) -> float:
        """The learning rate asked for, or the optimizer's default."""
        return DEFAULT_LR[self.optimizer] if self.lr is None else self.lr

    def to_json(self) -> dict[str, Any]:
        """All fields by name, as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """Inverse of ``to_json``; a missing field takes its default, an unknown one is a UsageError."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(
                f"unknown training field {', '.join(unknown)}", hint=f"known fields: {', '.join(sorted(known))}"
            )
        if "model" not in values:
            raise UsageError("the training configuration names no model", hint="set model, e.g. preresnet20")
        return cls(**values)


def _check_numbers(config: TrainConfig) -> None:
    if not 0 < config.peak_lr < float("inf"):
        raise UsageError(f"lr must be positive, got {config.lr}")
    if not (isfinite(config.weight_decay) and config.weight_decay >= 0):
        raise UsageError(f"weight_decay must not be negative, got {config.weight_decay}")
    if not 0 <= config.label_smoothing < 1:
        raise UsageError(f"label_smoothing must be in [0, 1), got {config.label_smoothing}")
    if not (0 <= config.momentum < 1 and 0 < config.bias_lr_scale < float("inf")):
        raise UsageError("momentum must be in [0, 1), and bias_lr_scale positive")
    if config.views not in VIEWS:
        raise UsageError(f"views must be one of {', '.join(map(str, VIEWS))}, got {config.views}")


def _check_adaptation(config: TrainConfig) -> None:
    """Raise UsageError for settings of the adaptation network that contradict each other."""
    given = [name for name in ("warm_up", "inverse", "public", "legacy_padding") if getattr(config, name)]
    given += ["start"] * (config.start != "random") + ["adapt_lr"] * (config.adapt_lr is not None)
    if config.adapt_block is None and given:
        raise UsageError(f"{', '.join(given)}: for an adaptation network", hint="set adapt_block")
    if config.lock is not None and given:
        raise UsageError(
            "a locked model has no adaptation network of its own to warm up or start", hint="drop lock or these"
        )
    if config.adaptation != "er" and (config.legacy_padding or config.adapt_block is None):
        raise UsageError(f"adaptation {config.adaptation} needs adapt_block, and knows no legacy_padding")
    if config.can_decrypt and config.adaptation not in MAP_HOLDERS:
        raise UsageError(f"adaptation {config.adaptation} can hold no map", hint="leave start random")
    if (config.start == "whitened") != (config.adaptation == "whitened"):
        raise UsageError("start whitened has a network of its own, adaptation whitened", hint="give start alone")
    if config.start != "random" and config.legacy_padding:
        raise UsageError("with legacy_padding no adaptation network can hold a map", hint="drop one")
    if (config.inverse is not None) != (config.start == "inverse"):
        raise UsageError("start inverse needs the file inverse, and no other start does", hint="give both")
    if config.public is not None and config.start != "ciphertexts":
        raise UsageError("public photos are for start ciphertexts", hint="set start, or drop public")
    if config.adapt_lr is not None and not (isfinite(config.adapt_lr) and config.adapt_lr >= 0):
        raise UsageError(f"adapt_lr must not be negative, got {config.adapt_lr}")


def _check_block(block: int | None) -> None:
    if block is not None and not 1 <= block <= MAX_BLOCK:
        raise UsageError(f"adapt_block is between 1 and {MAX_BLOCK}, not {block}", hint="use the cipher's block")


def _check_types(config: TrainConfig) -> None:
    for field, kind in get_type_hints(TrainConfig).items():
        value = getattr(config, field)
        integer_for_float = isinstance(value, int) and not isinstance(value, bool) and isinstance(1.0, kind)
        bool_for_number = isinstance(value, bool) and kind is not bool
        if bool_for_number or not (isinstance(value, kind) or integer_for_float):
            raise UsageError(f"{field} must be {getattr(kind, '__name__', kind)}, got {value!r}")
