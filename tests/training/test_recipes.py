"""speednet and its recipe: whitened first layer, lookahead, flips, shifts, views; exact resume; refusals."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from cipherlens.errors import UsageError  # noqa: E402
from cipherlens.models import create_model  # noqa: E402
from cipherlens.models.speednet import SpeedNet  # noqa: E402
from cipherlens.training import TrainConfig, evaluate, fit, load_run, predict  # noqa: E402
from cipherlens.training.engine.augmentation import Augmentation, average_views, shift  # noqa: E402
from cipherlens.training.engine.lookahead import EVERY, KEEP, Lookahead  # noqa: E402
from cipherlens.training.engine.metrics import Position  # noqa: E402
from cipherlens.training.engine.optimizer import create_optimizer, get_learning_rate  # noqa: E402
from cipherlens.training.recipes import choose_norm_images, recommend  # noqa: E402
from tests.training.test_training import (  # noqa: E402
    TEST,
    Blobs,
    Interrupt,
    assert_same_run,
    interrupt_at,
    make_blobs,
)

SMALL = recommend("speednet", True) | {"epochs": 3, "batch_size": 64, "lr": 0.1}
CONFIG = TrainConfig.from_json({"model": "speednet", "precision": "float32", "threads": 1, "seed": 3, **SMALL})


def make_sides(count: int, seed: int, shuffled: bool = False) -> Blobs:
    """Noise with bright rows above, in the middle or below: classes that a flip leaves as they are."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = rng.integers(0, 100, (count, 3, 16, 16), dtype=np.uint8)
    for label, row in enumerate((1, 6, 11)):
        images[labels == label, :, row : row + 4] += 120
    return Blobs(images, rng.permutation(labels) if shuffled else labels)


def test_speednet_learns_and_stays_at_chance_on_shuffled_labels(tmp_path):
    test = make_sides(90, 2)
    result = fit(CONFIG, make_sides(400, 1), test, tmp_path / "run")
    assert result.last.test_accuracy > 0.9
    loaded = load_run(tmp_path / "run", "last")
    assert evaluate(loaded, test)["accuracy"] == result.last.test_accuracy
    single = predict(replace(loaded, config=replace(loaded.config, views=1)), test.images)
    assert not np.allclose(single, predict(loaded, test.images), atol=1e-4)  # views are in use
    noise = fit(CONFIG, make_sides(400, 1, True), make_sides(300, 2, True), tmp_path / "noise")
    assert 0.2 < noise.last.test_accuracy < 0.47


@pytest.mark.parametrize("adapt", [None, 4])
def test_the_first_layer_whitens_patches_and_stays(tmp_path, adapt):
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 256, (120, 3, 8, 8)), np.ones((2, 2))).astype(np.uint8)
    images = Blobs(smooth, rng.integers(0, 3, 120))
    fit(replace(CONFIG, flip=False, shift=0, views=1, adapt_block=adapt), images, None, tmp_path / "run")
    model = load_run(tmp_path / "run", "last").model
    network = model if adapt is None else model.backbone
    filters = network.whitening
    assert torch.equal(filters[12:], -filters[:12])
    if adapt is None:  # an adaptation network moves on from what the layer was measured on
        normal = load_run(tmp_path / "run", "last").normalization.apply(torch.from_numpy(smooth))
        answers = torch.nn.functional.conv2d(normal, filters[:12])
        products = torch.einsum("nahw,nbhw->ab", answers, answers) / answers[:, 0].numel()
        assert torch.allclose(products, torch.eye(12), atol=0.02)


def test_a_frozen_backbone_that_is_released_keeps_its_fixed_parts():
    model = create_model("speednet", 10, adapt_block=4)
    model.freeze(True)
    assert {name for name, part in model.backbone.named_parameters() if part.requires_grad} == {"fc.weight"}
    model.freeze(False)
    fixed = {name for name, part in model.backbone.named_parameters() if not part.requires_grad}
    assert len(fixed) == 6 and all(name.endswith("weight") for name in fixed)  # BatchNorm's scales


@pytest.mark.parametrize("stop", [(1, 2), (2, None), (3, 1)])
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path, stop):
    train, test = make_sides(150, 1), make_sides(60, 2)
    config = replace(CONFIG, batch_size=20)  # eight steps an epoch: slow and fast weights differ at its end
    fit(config, train, test, tmp_path / "whole")
    epoch, step = stop
    with pytest.raises(Interrupt):
        fit(config, train, test, tmp_path / "run", progress=interrupt_at(lambda e: _is_at(e, epoch, step)))
    fit(config, train, test, tmp_path / "run")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def _is_at(event, epoch, step):
    return event.position.epoch == epoch and (event.metrics is not None if step is None else event.step == step)


def test_slow_weights_follow_the_fast_ones():
    model, steps = torch.nn.Linear(3, 2), 12
    fast, slow = model.weight.detach().clone(), model.weight.detach().clone()
    lookahead = Lookahead(model)
    for step in range(1, steps + 1):
        with torch.no_grad():
            model.weight.add_(step)
        fast = fast + step
        if step == steps:
            fast = slow
        elif step % EVERY == 0:
            keep = KEEP * (step / steps) ** 3
            fast = slow = keep * slow + (1 - keep) * fast
        lookahead.update(step, steps)
        assert torch.allclose(model.weight, fast)
    assert torch.equal(model.weight, lookahead.slow["weight"])


@pytest.mark.parametrize("channels", [1, 3])
def test_shifts_are_those_of_a_slow_reference(channels):
    rng = np.random.default_rng(1)
    pictures, by = rng.random((9, channels, 7, 10)), rng.integers(-3, 4, (9, 2))
    expected = [
        np.pad(one, ((0, 0), (3, 3), (3, 3)), "reflect")[:, 3 + up : 10 + up, 3 + left : 13 + left]
        for one, (up, left) in zip(pictures, by, strict=True)
    ]
    found = shift(torch.from_numpy(pictures), torch.from_numpy(by))
    assert np.array_equal(found.numpy(), np.stack(expected))


def test_every_image_is_flipped_in_every_second_epoch():
    pictures = torch.arange(40.0).view(10, 1, 1, 4)
    config = replace(CONFIG, shift=0)
    places = np.array([3, 1, 8])
    seen = []
    for epoch in (1, 2, 3):
        change = Augmentation(config, Position(1, epoch), 10).choose(places)
        chosen = pictures[places]
        found = change(chosen)
        mirrored = (found == chosen.flip(-1)).all((1, 2, 3))
        assert bool((mirrored | (found == chosen).all((1, 2, 3))).all())
        seen.append(mirrored)
    assert torch.equal(seen[0], ~seen[1]) and torch.equal(seen[0], seen[2])
    whole = [
        bool(Augmentation(config, Position(1, 1), 10).choose(np.array([n]))(pictures[[n]])[0, 0, 0, 0] % 4)
        for n in range(10)
    ]
    assert 0 < sum(whole) < 10
    assert Augmentation(replace(config, flip=False), Position(1, 1), 10).choose(places) is None


def test_views_average_logits():
    pictures = torch.rand(5, 3, 8, 8)
    classify = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    with torch.no_grad():
        one = average_views(classify, pictures, 1)
        two = average_views(classify, pictures, 2)
        six = average_views(classify, pictures, 6)
        moved = [shift(pictures, torch.full((5, 2), by)) for by in (-1, 1)]
        doubled = [(classify(part) + classify(part.flip(-1))) / 2 for part in (pictures, *moved)]
    assert torch.equal(one, classify(pictures))
    assert torch.allclose(two, doubled[0], atol=1e-6)
    assert torch.allclose(six, doubled[0] / 2 + doubled[1] / 4 + doubled[2] / 4, atol=1e-6)


def test_the_triangle_of_the_learning_rate():
    config = replace(CONFIG, lr=2.0)
    rates = [get_learning_rate(config, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.4) and max(rates) == rates[23] == 2.0 and rates[100] == pytest.approx(0.14)
    assert np.allclose(np.diff(rates[:24]), 1.6 / 23) and np.allclose(np.diff(rates[23:]), -1.86 / 77)


def test_biases_of_batchnorm_have_their_own_rate():
    model = create_model("speednet", 10)
    optimizer = create_optimizer(CONFIG, model)
    rates = {
        id(part): (group.get("share_of_lr", 1.0), group["weight_decay"])
        for group in optimizer.param_groups
        for part in group["params"]
    }
    named = dict(model.named_parameters())
    assert rates[id(named["blocks.0.2.bias"])] == (64.0, CONFIG.weight_decay / 64)
    assert rates[id(named["bias"])] == (1.0, 0.0) and rates[id(named["fc.weight"])] == (1.0, CONFIG.weight_decay)
    assert len(rates) == len(named)


@pytest.mark.parametrize("change", [{"flip": True}, {"shift": 1}, {"views": 2}])
def test_only_pictures_are_changed(tmp_path, change):
    config = TrainConfig("speednet", epochs=1, precision="float32", threads=1, **change)
    with pytest.raises(UsageError, match="ciphertext of no picture"):
        fit(config, make_blobs(60, 1), TEST, tmp_path / "run", {"cipher": "hill"})
    assert not (tmp_path / "run" / "config.json").exists()
    fit(config, make_blobs(60, 1), TEST, tmp_path / "run", {"cipher": "identity"})
    with pytest.raises(UsageError, match="locked"):
        replace(config, lock="shuffled")
    with pytest.raises(UsageError, match="cannot be shifted"):
        fit(replace(config, shift=16), make_blobs(60, 1), TEST, tmp_path / "new")
    with pytest.raises(UsageError, match="patience"):
        replace(config, lookahead=True, patience=2)


def test_a_recipe_without_pictures_changes_none():
    assert not TrainConfig.from_json({"model": "speednet", **recommend("speednet", False)}).changes_pictures
    assert recommend("preresnet20", True) == {}


def test_speednet_takes_sixteen_pixels_and_other_channels():
    for channels, side in ((1, 16), (3, 40), (5, 33)):
        model = create_model("speednet", 4, in_chans=channels, image_size=(side, side))
        assert isinstance(model, SpeedNet) and model(torch.rand(2, channels, side, side)).shape == (2, 4)


def test_the_command_line_takes_the_recipe_and_what_it_is_given(tmp_path):
    from cipherlens.cli.main import execute
    from cipherlens.training.run.record import read_record

    key = str(tmp_path / "k.key")
    assert execute(["keygen", key]) == 0
    for name, options in (("identity", []), ("hill", ["--block", "4"])):
        source = ["encrypt", "synthetic:objects?n=40&test=10&size=16", str(tmp_path / name)]
        assert execute([*source, "--cipher", name, *options, "--key", key]) == 0
    train = ["train", "--model", "speednet", "--epochs", "1", "--threads", "1", "--batch-size", "20", "--out"]
    assert execute([*train, str(tmp_path / "one"), str(tmp_path / "identity"), "--no-lookahead"]) == 0
    assert execute([*train, str(tmp_path / "two"), str(tmp_path / "hill")]) == 0
    assert execute([*train, str(tmp_path / "three"), str(tmp_path / "hill"), "--flip"]) == 2
    plain, sealed = (read_record(tmp_path / name).config for name in ("one", "two"))
    expected = recommend("speednet", True) | {"batch_size": 20, "lookahead": False}
    assert {field: getattr(plain, field) for field in expected} == expected
    assert not sealed.changes_pictures and sealed.lookahead and sealed.batch_size == 20


def test_a_locked_run_of_one_that_flipped_pictures_flips_nothing(tmp_path):
    from cipherlens.cli.main import execute
    from cipherlens.data.sealed.dataset import SealedDataset
    from cipherlens.keys import Key

    key = str(tmp_path / "k.key")
    assert execute(["keygen", key]) == 0
    for name in ("identity", "pixel-permutation"):
        source = ["encrypt", "synthetic:objects?n=60&test=30&size=16", str(tmp_path / name)]
        assert execute([*source, "--cipher", name, "--key", key]) == 0
    train = ["train", str(tmp_path / "identity"), "--model", "speednet", "--epochs", "2", "--threads", "1"]
    assert execute([*train, "--batch-size", "20", "--precision", "float32", "--out", str(tmp_path / "run")]) == 0
    assert execute(["lock", str(tmp_path / "run"), "--key", key, "--out", str(tmp_path / "locked")]) == 0
    plain, shuffled = (SealedDataset.open(tmp_path / name) for name in ("identity", "pixel-permutation"))
    run = load_run(tmp_path / "run", "last")
    single = replace(run, config=replace(run.config, views=1))
    locked = load_run(tmp_path / "locked", "last", shuffled.spec.bind(Key.load(key)))
    assert not locked.config.changes_pictures
    images = np.arange(30)
    expected = predict(single, plain.split("test").read(images))
    assert np.allclose(predict(locked, shuffled.split("test").read(images)), expected, atol=1e-4)
    assert not np.allclose(predict(run, plain.split("test").read(images)), expected, atol=1e-4)


def test_after_few_steps_statistics_are_measured_again(tmp_path):
    train, test = make_blobs(96, 1), make_blobs(90, 2)
    config = TrainConfig("preresnet20", epochs=1, batch_size=16, lr=0.05, precision="float32", threads=1)
    stale = fit(config, train, test, tmp_path / "stale").last
    fresh = fit(replace(config, norm_images=96), train, test, tmp_path / "fresh").last
    assert stale.test_accuracy < 0.5 and fresh.test_accuracy > stale.test_accuracy + 0.2
    assert fresh.train_loss == stale.train_loss  # training itself is the same
    run = load_run(tmp_path / "fresh", "last")
    seen = []
    run.model.bn.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    run.model.train()
    means = []
    with torch.no_grad():
        for part in np.array_split(np.arange(96), 6):
            run.forward(torch.from_numpy(train.read(part)))
            means.append(seen[-1].mean((0, 2, 3)))
    stored = load_run(tmp_path / "fresh", "last").model.bn.running_mean
    assert torch.allclose(torch.stack(means).mean(0), stored, atol=1e-4)
    assert choose_norm_images(96, 16, 1) and not choose_norm_images(50_000, 128, 1)
