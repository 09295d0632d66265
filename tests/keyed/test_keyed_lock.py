"""``lock``: whole models are exact on encrypted images, wrong with another key, and keep the key to themselves."""

import copy
import operator
import pickle
from io import BytesIO

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
segmentation = pytest.importorskip("torchvision.models.segmentation")

import torch.nn.functional as F  # noqa: E402
from timm.models.densenet import DenseNet  # noqa: E402
from torch import nn  # noqa: E402

import cipherlens as cl  # noqa: E402
from cipherlens.errors import ShapeError, UsageError  # noqa: E402
from cipherlens.keyed import LockedModel  # noqa: E402
from tests.layers import Applied  # noqa: E402
from tests.reference import operators as reference  # noqa: E402

KEY = cl.Key(bytes(range(32)))
OTHER = cl.Key(bytes(32))
CLASSES = 4
INNERS = ("shuffled", "plain")


def create_fcn():
    return segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES)


def create_deeplab():
    return segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES)


def create_densenet():
    return DenseNet(block_config=(2, 2), growth_rate=8, num_classes=CLASSES)


SPECIAL = {"densenet": create_densenet, "fcn_resnet50": create_fcn, "deeplabv3_resnet50": create_deeplab}
OWN = ("preresnet20", "vgg16_cifar", "unet-small")
TIMM = (
    *("resnet18", "resnext50_32x4d", "mobilenetv3_small_050", "efficientnet_b0", "convnext_atto", "regnety_002"),
    *("tf_efficientnet_lite0", "test_byobnet", "test_convnext", "test_convnext2", "test_efficientnet"),
    *("test_efficientnet_gn", "test_efficientnet_ln", "test_mambaout", "test_nfnet", "test_resnet"),
)
SEGMENTATION = ("unet-small", "fcn_resnet50", "deeplabv3_resnet50")


def bind(shape, key=KEY):
    return cl.create_cipher("pixel-permutation").bind(key, tuple(shape))


def shape_of(name):
    return (3, 32, 32) if name in OWN else (3, 64, 64)


def make_images(count, shape, seed=1):
    """Smooth pictures with some noise: what a permutation destroys."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, shape[0], 4, 4, generator=generator)
    smooth = F.interpolate(coarse, shape[1:], mode="bilinear")
    return 2 * smooth - 1 + torch.rand(smooth.shape, generator=generator) / 5


def make_model(name):
    """A small instance whose weights and normalisations all matter."""
    torch.manual_seed(0)
    model = SPECIAL[name]() if name in SPECIAL else cl.create_model(name, CLASSES)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter)
            elif parameter.abs().max() > 0:  # scales of normalisations, and of layers that start at almost nothing
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.uniform_(-0.1, 0.1)
        randomise_statistics(model, make_images(6, shape_of(name), seed=2))
    return model.eval()


def randomise_statistics(model, images):
    """Near those of real maps, so that signals neither die nor explode on the way."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.running_mean += torch.randn_like(norm.running_mean) * norm.running_var.sqrt() / 5
        norm.running_var *= torch.rand_like(norm.running_var) / 2 + 1


def get_output(result):
    return result["out"] if isinstance(result, dict) else result


@torch.no_grad()
def predict(model, images):
    return get_output(model(images))


def difference(result, expected):
    return ((result - expected).abs().max() / expected.abs().max()).item()


class Net(nn.Module):
    """A small network with everything that a train step touches."""

    def __init__(self, classes=CLASSES):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.branch = nn.Conv2d(6, 6, 3, padding=1, groups=2, bias=False)
        self.down = nn.Conv2d(6, 8, 2, stride=2)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(8 * 4 * 4, classes)

    def forward(self, x):
        x = self.pool(self.relu(self.norm(self.stem(x))))
        x = x + self.branch(x)
        x = F.dropout(self.down(x), 0.25, self.training)
        return self.head(self.flatten(x))


NET_SHAPE = (3, 16, 16)


def make_net(**options):
    torch.manual_seed(5)
    return Net(**options).eval()


@pytest.mark.parametrize("name", [*OWN, *TIMM, *SPECIAL])
def test_locked_models_are_exact_and_only_with_the_key(name):
    model, shape = make_model(name), shape_of(name)
    bound, images = bind(shape), make_images(2, shape)
    plain = predict(model, images)
    locked = cl.lock(model, bound)
    found = predict(locked, bound.encrypt(images))
    wrong = {
        "plain model": predict(model, bound.encrypt(images)),
        "other key": predict(cl.lock(model, bind(shape, OTHER)), bound.encrypt(images)),
        "plain images": predict(locked, images),
    }
    if name in SEGMENTATION:
        out = bind((CLASSES, *shape[1:]))
        assert difference(found, plain) > 0.1  # what leaves the model is permuted
        found, wrong = out.decrypt(found), {why: out.decrypt(maps) for why, maps in wrong.items()}
        assert np.array_equal(out.decrypt(out.encrypt(plain.numpy())), plain.numpy())
    assert difference(found, plain) <= 1e-4
    assert torch.equal(found.argmax(1), plain.argmax(1))
    for why, result in wrong.items():
        assert difference(result, plain) > 0.01, why


@pytest.mark.parametrize("name", ["preresnet20", "unet-small", "test_efficientnet", "test_resnet", "densenet"])
@pytest.mark.parametrize(("inner", "backend"), [("shuffled", "deform"), ("plain", "gather"), ("plain", "deform")])
def test_all_kinds_of_locked_models_are_exact(name, inner, backend):
    model, shape = make_model(name), shape_of(name)
    bound, images = bind(shape), make_images(3, shape)
    locked = cl.lock(model, bound, inner=inner, backend=backend)
    found, plain = predict(locked, bound.encrypt(images)), predict(model, images)
    if name in SEGMENTATION and inner == "shuffled":
        found = bind(plain.shape[1:]).decrypt(found)
    assert difference(found, plain) <= 1e-4
    assert (locked.inner, locked.fingerprint) == (inner, KEY.fingerprint)
    assert bool(locked.feature_maps) == (inner == "shuffled")


@pytest.mark.parametrize("name", ["vit", "coatnet"])
def test_transformers_convert_with_the_input_permuted_only(name):
    create = {"vit": lambda: cl.create_model("test_vit", CLASSES, image_size=(32, 32))}
    if name == "coatnet" and not timm.is_model("test_coatnet"):
        pytest.skip("this timm has no small CoAtNet")
    model = create.get(name, lambda: timm.create_model("test_coatnet", num_classes=CLASSES, img_size=64))().eval()
    bound = bind((3, 32, 32) if name == "vit" else (3, 64, 64))
    with pytest.raises(UsageError, match="reshapes"):
        cl.lock(model, bound)
    locked, images = cl.lock(model, bound, inner="plain"), torch.rand(2, *bound.shape)
    assert difference(predict(locked, bound.encrypt(images)), predict(model, images)) <= 1e-4


def train_step(model, images, labels):
    """Loss and gradients by parameter name."""
    model.train()
    result = get_output(model(images))
    if result.ndim == 4:
        result = result.mean((2, 3))
    loss = F.cross_entropy(result, labels)
    loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in model.named_parameters()}


def without_dropout(model):
    for module in model.modules():
        for attribute in ("p", "drop_prob", "drop_rate"):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)
    return model


@pytest.mark.parametrize("inner", INNERS)
@pytest.mark.parametrize(
    "name", ["preresnet20", "unet-small", "test_resnet", "test_efficientnet", "test_convnext", "densenet"]
)
def test_gradients_of_a_training_step_are_the_plain_models(name, inner):
    model, shape = without_dropout(make_model(name)).double(), shape_of(name)
    bound, images = bind(shape), make_images(3, shape).double()
    locked, labels = cl.lock(model, bound, inner=inner), torch.tensor([0, 2, 1])
    found = train_step(locked, bound.encrypt(images), labels)
    expected = train_step(model, images, labels)
    assert found[0] == pytest.approx(expected[0], rel=1e-9)
    assert list(found[1]) == list(expected[1])
    scale = max(gradient.abs().max() for gradient in expected[1].values())
    for parameter, gradient in expected[1].items():
        torch.testing.assert_close(found[1][parameter], gradient, rtol=1e-6, atol=1e-9 * scale.item())
    assert sum(bool(gradient.abs().max() > 0) for gradient in expected[1].values()) > len(expected[1]) / 2
    for key, value in model.state_dict().items():  # the running statistics moved alike
        torch.testing.assert_close(locked.state_dict()[key], value, rtol=1e-6, atol=1e-9)


class Smooth(nn.Sequential):
    """No kinks: where a ReLU or maximum flips by rounding, float32 gradients differ without any fault."""

    def __init__(self):
        super().__init__(
            *(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.Tanh(), nn.Conv2d(6, 6, 2, 2, groups=3), nn.SiLU()),
            *(nn.Conv2d(6, 4, 3, padding=2, dilation=2, padding_mode="reflect"), nn.Sigmoid()),
            *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, CLASSES)),
        )


@pytest.mark.parametrize("inner", INNERS)
def test_gradients_of_deformable_convolutions_are_the_plain_models(inner):
    torch.manual_seed(3)
    model = Smooth()
    bound, images, labels = bind(NET_SHAPE), make_images(3, NET_SHAPE), torch.tensor([0, 2, 1])
    locked = cl.lock(model, bound, inner=inner, backend="deform")
    found = train_step(locked, bound.encrypt(images), labels)[1]
    expected = train_step(model, images, labels)[1]
    scale = max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5 * scale)


def test_several_training_steps_keep_the_models_together():
    model = without_dropout(make_model("preresnet20")).double()
    bound, images = bind((3, 32, 32)), torch.rand(6, 3, 32, 32, dtype=torch.float64)
    locked = cl.lock(model, bound)
    for trained, batch in ((model, images), (locked, bound.encrypt(images))):
        optimizer = torch.optim.SGD(trained.parameters(), 0.05, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            train_step(trained, batch, torch.tensor([0, 1, 2, 3, 1, 2]))
            optimizer.step()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(locked.state_dict()[key], value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("inner", INNERS)
@pytest.mark.parametrize("name", ["preresnet20", "unet-small", "test_efficientnet", "convnext_atto", "densenet"])
def test_parameters_and_state_dicts_are_the_plain_models(name, inner):
    model = make_model(name)
    locked = cl.lock(model, bind(shape_of(name)), inner=inner)
    for list_names in (nn.Module.named_parameters, nn.Module.named_modules):
        plain = [key for key, _ in list_names(model)]
        assert [key for key, _ in list_names(locked) if not key.startswith("_keyed")] == plain
    assert list(locked.state_dict()) == list(model.state_dict())
    for key, value in model.state_dict().items():
        assert torch.equal(locked.state_dict()[key], value), key
    tables = {key for key, _ in locked.named_buffers()} - {key for key, _ in model.named_buffers()}
    assert tables and all(key.startswith("_keyed.") for key in tables)


def test_the_plain_state_loads_into_a_locked_model_and_back():
    model, fresh = make_model("preresnet20"), cl.create_model("preresnet20", CLASSES).eval()
    bound, images = bind((3, 32, 32)), torch.rand(2, 3, 32, 32)
    locked = cl.lock(fresh, bound)
    assert difference(predict(locked, bound.encrypt(images)), predict(model, images)) > 0.01
    stored = BytesIO()
    torch.save(model.state_dict(), stored)
    stored.seek(0)
    missing = locked.load_state_dict(torch.load(stored, weights_only=True))
    assert not missing.missing_keys and not missing.unexpected_keys
    assert difference(predict(locked, bound.encrypt(images)), predict(model, images)) <= 1e-4
    fresh.load_state_dict(locked.state_dict())
    assert torch.equal(predict(fresh, images), predict(model, images))


def test_the_plain_model_stays_as_it_was():
    model = make_net().train()
    state, modules = copy.deepcopy(model.state_dict()), dict(model.named_modules())
    bound = bind(NET_SHAPE)
    locked = cl.lock(model, bound)
    with torch.no_grad():
        for parameter in locked.parameters():
            parameter.add_(1)
    locked(bound.encrypt(torch.rand(4, *NET_SHAPE)))
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert dict(model.named_modules()) == modules and type(model) is Net and model.training
    places = {parameter.data_ptr() for parameter in model.parameters()}
    assert not places & {parameter.data_ptr() for parameter in locked.parameters()}
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    "store", [torch.save, pickle.dump, lambda model, file: pickle.dump({"model": [model]}, file)]
)
def test_a_locked_model_cannot_be_pickled(store):
    locked, file = cl.lock(make_net(), bind(NET_SHAPE)), BytesIO()
    with pytest.raises(TypeError, match="state_dict"):
        store(locked, file)


def test_a_deep_copy_is_a_locked_model_of_its_own():
    bound, images = bind(NET_SHAPE), torch.rand(2, *NET_SHAPE)
    locked = cl.lock(make_net(), bound)
    before = predict(locked, bound.encrypt(images))
    copied = copy.deepcopy(locked)
    assert isinstance(copied, LockedModel) and torch.equal(predict(copied, bound.encrypt(images)), before)
    assert list(copied.state_dict()) == list(locked.state_dict()) and copied.fingerprint == locked.fingerprint
    assert [m.node for m in copied.feature_maps] == [m.node for m in locked.feature_maps]
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert torch.equal(predict(locked, bound.encrypt(images)), before)
    assert not torch.equal(predict(copied, bound.encrypt(images)), before)
    with pytest.raises(TypeError):
        pickle.dumps(copied)


@pytest.mark.parametrize("backend", ["gather", "deform"])
def test_nothing_printed_shows_a_table(backend):
    bound = bind(NET_SHAPE)
    locked = cl.lock(make_net(), bound, backend=backend)
    printed = [repr(locked), str(locked), str(locked.meta), repr(locked.meta), locked.code, str(locked.graph)]
    printed += [repr(item) for item in locked.feature_maps]
    values = ", ".join(map(str, bound.order[:4])), " ".join(map(str, bound.order[:4]))
    for text in printed:
        assert "tensor(" not in text and "array(" not in text
        assert not any(value in text for value in values)
    assert KEY.fingerprint in str(locked.meta) and "stem" in str(locked.meta)


def test_training_and_evaluation_mode_switch_dropout_and_statistics():
    bound, images = bind(NET_SHAPE), torch.rand(4, *NET_SHAPE)
    model = make_net()
    for training in (True, False):
        locked = cl.lock(model.train(training), bound)
        assert {module.training for module in locked.modules()} == {training}
        locked.eval()
        once, twice = (predict(locked, bound.encrypt(images)) for _ in range(2))
        assert torch.equal(once, twice) and difference(once, predict(model.eval(), images)) < 1e-5
        statistics = locked.norm.running_mean.clone()
        locked.train()
        once, twice = (predict(locked, bound.encrypt(images)) for _ in range(2))
        assert not torch.allclose(once, twice)  # the functional dropout is at work
        assert not torch.equal(locked.norm.running_mean, statistics)


class Recorder(torch.fx.Interpreter):
    """Keeps every tensor on its way through a graph, before anything changes it in place."""

    def __init__(self, module):
        super().__init__(module)
        self.seen = {}

    def run_node(self, n):
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.seen[n.name] = result.clone()
        return result


@torch.no_grad()
def record_locked(locked, images):
    recorder = Recorder(locked)
    recorder.run(images)
    return recorder.seen


@torch.no_grad()
def record_plain(model, images):
    """What every layer of the plain model yields, by its path, call after call."""
    seen = {}

    def remember(name):
        return lambda _module, _inputs, output: seen.setdefault(name, []).append(output.clone())

    for name, module in model.named_modules():
        module.register_forward_hook(remember(name))
    model(images)
    return seen


@pytest.mark.parametrize("name", ["preresnet20", "unet-small", "test_resnet"])
@pytest.mark.parametrize("backend", ["gather", "deform"])
def test_every_feature_map_is_stored_under_its_order(name, backend):
    model, shape = make_model(name), shape_of(name)
    bound, images = bind(shape), make_images(2, shape)
    locked = cl.lock(model, bound, backend=backend)
    stored, plain = record_locked(locked, bound.encrypt(images)), record_plain(copy.deepcopy(model), images)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d) and set(m.kernel_size) != {1}]
    assert len(locked.feature_maps) >= len(convolutions)
    for item in locked.feature_maps:
        expected = plain[item.layer.split(": ")[0]].pop(0)
        size = expected.shape[-2:]
        assert item.size == tuple(size) == tuple(stored[item.node].shape[-2:])
        assert sorted(item.order) == list(range(size[0] * size[1]))
        maps = stored[item.node].numpy()
        assert difference(torch.from_numpy(maps), expected) > 0.1  # truly permuted
        assert difference(torch.from_numpy(reference.restore(maps, item.order)), expected) < 1e-4


def test_maps_that_are_not_added_or_joined_have_orders_of_their_own():
    """PreResNet: a stage's skip path is one order, the map between a block's two convolutions another."""
    locked = cl.lock(make_model("preresnet20"), bind((3, 32, 32)))
    orders = {item.layer.split(": ")[0]: bytes(item.order) for item in locked.feature_maps}
    for stage in ("layer1", "layer2", "layer3"):
        inside = {orders[f"{stage}.{block}.conv1"] for block in range(3)}
        outside = {orders[f"{stage}.{block}.conv2"] for block in range(3)}
        assert len(inside) == 3 and len(outside) == 1 and not inside & outside
    assert orders["conv1"] == orders["layer1.0.conv2"]
    assert orders["layer2.0.shortcut"] == orders["layer2.0.conv2"]
    assert len(set(orders.values())) == 12
    assert bytes(bind((3, 32, 32)).order) not in orders.values()


def test_the_map_that_leaves_a_model_has_the_clients_order_of_its_size():
    bound = bind((3, 16, 24))
    locked = cl.lock(nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, padding=1)), bound)
    first, last = locked.feature_maps
    assert np.array_equal(last.order, bound.order_for((8, 12)))
    assert not np.array_equal(first.order, last.order)


def list_orders(key, **options):
    locked = cl.lock(make_net(), bind(NET_SHAPE, key), **options)
    return [(item.layer, item.size, bytes(item.order)) for item in locked.feature_maps]


def test_the_key_decides_the_orders():
    mine, again, others = list_orders(KEY), list_orders(KEY), list_orders(OTHER)
    assert mine == again == list_orders(KEY, backend="deform")
    assert [entry[:2] for entry in mine] == [entry[:2] for entry in others]
    assert not {entry[2] for entry in mine} & {entry[2] for entry in others}
    assert list_orders(KEY, inner="plain") == []


@pytest.mark.parametrize("size", [(15, 16), (32, 32), (8, 32), (32, 8)])
@pytest.mark.parametrize("inner", INNERS)
def test_images_of_another_size_are_refused(size, inner):
    locked = cl.lock(make_net(), bind(NET_SHAPE), inner=inner)
    with pytest.raises(ShapeError, match="16x16"):
        locked(torch.rand(1, 3, *size))


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 8, 8)])
def test_a_cipher_for_a_shape_that_the_model_cannot_take_is_refused(shape):
    with pytest.raises(UsageError, match="cannot take images of shape"):
        cl.lock(make_net(), bind(shape))


def test_other_ciphers_and_options_are_refused():
    hill = cl.create_cipher("hill", block=4).bind(KEY, NET_SHAPE)
    with pytest.raises(UsageError, match="not to hill"):
        cl.lock(make_net(), hill)
    with pytest.raises(UsageError, match="inner='mixed'"):
        cl.lock(make_net(), bind(NET_SHAPE), inner="mixed")
    with pytest.raises(UsageError, match="backend='unfold'"):
        cl.lock(make_net(), bind(NET_SHAPE), backend="unfold")
    with pytest.raises(UsageError, match="locked already"):
        cl.lock(cl.lock(make_net(), bind(NET_SHAPE)), bind(NET_SHAPE))


class Wrapped(nn.Module):
    """A convolution, a step, a convolution and a classifier."""

    def __init__(self, step, **layers):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.middle = nn.ModuleDict({"step": Applied(step, **layers)})
        self.last = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4 * 16 * 16, CLASSES)

    def forward(self, x):
        x = self.last(self.middle["step"](self.stem(x)))
        return self.head(torch.flatten(x, 1))


def wrap(function, **layers):
    torch.manual_seed(7)
    model = Wrapped(function, **layers)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(-0.5, 0.5)
    return model.eval()


UNKNOWN = {
    "cumsum": lambda self, x: torch.cumsum(x, 2),
    "fft_fft2": lambda self, x: torch.fft.fft2(x).real,
    "roll": lambda self, x: torch.roll(x, 1, 3),
    "flip": lambda self, x: x.flip(2),
    "sort": lambda self, x: torch.sort(x, -1)[0],
    "getitem": lambda self, x: x[:, :, 1:] + x[:, :, :-1],
    "softmax": lambda self, x: x.softmax(-1),
    "mean": lambda self, x: x - x.mean(3, keepdim=True),
    "transpose": lambda self, x: x.transpose(2, 3),
    "matmul": lambda self, x: x @ x,
    "view": lambda self, x: x.view(x.shape[0], 4, -1),
    "cat": lambda self, x: torch.cat([x, x], 3),
    "layer_norm": lambda self, x: F.layer_norm(x, (16, 16), torch.arange(256.0).view(16, 16)),
}


@pytest.mark.parametrize("operation", UNKNOWN)
def test_what_mixes_positions_in_an_unknown_way_is_refused_by_name(operation):
    with pytest.raises(UsageError) as caught:
        cl.lock(wrap(UNKNOWN[operation]), bind(NET_SHAPE))
    assert f"middle.step: {operation}" in str(caught.value)
    assert 'inner="plain"' in caught.value.hint


@pytest.mark.parametrize("operation", ["cumsum", "fft_fft2", "roll", "sort", "softmax", "transpose"])
def test_what_mixes_positions_converts_with_the_input_permuted_only(operation):
    model, bound, images = wrap(UNKNOWN[operation]), bind(NET_SHAPE), torch.rand(2, *NET_SHAPE)
    locked = cl.lock(model, bound, inner="plain")
    assert locked.feature_maps == ()
    assert difference(predict(locked, bound.encrypt(images)), predict(model, images)) <= 1e-5


def test_an_unknown_layer_is_refused_by_name():
    model = wrap(lambda self, x: self.fold(x), fold=nn.Unfold(2))
    with pytest.raises(UsageError, match=r"middle\.step\.fold: middle\.step\.fold \(Unfold\)"):
        cl.lock(model, bind(NET_SHAPE))


def loop_over_values(self, x):
    for _ in range(int(x.abs().sum())):
        x = x + 1
    return x


@pytest.mark.parametrize("inner", INNERS)
def test_a_model_that_cannot_be_traced_is_refused_by_name(inner):
    with pytest.raises(UsageError, match=r"middle\.step \(Applied\)"):
        cl.lock(wrap(loop_over_values), bind(NET_SHAPE), inner=inner)


def branch_on_shapes(self, x):
    if x.shape[-1] > 8 and x.size(0) != 0 and x.dim() == 4:
        x = self.conv(x)
    return x * 2 if x.shape[1] == 5 else x


def test_branches_on_shapes_convert():
    model = wrap(branch_on_shapes, conv=nn.Conv2d(4, 4, 3, padding=1))
    bound, images = bind(NET_SHAPE), torch.rand(2, *NET_SHAPE)
    locked = cl.lock(model, bound)
    assert "middle.step.conv" in {item.layer.split(": ")[0] for item in locked.feature_maps}
    assert difference(predict(locked, bound.encrypt(images)), predict(model, images)) <= 1e-5


def relu_between(self, x):
    first = self.conv(x)
    return first + self.conv(x) + self.conv(self.relu(x)) + self.conv(x)


@pytest.mark.parametrize("inner", INNERS)
@pytest.mark.parametrize("backend", ["gather", "deform"])
def test_an_in_place_relu_that_others_read_stays_exact(inner, backend):
    model = wrap(relu_between, conv=nn.Conv2d(4, 4, 3, padding=1), relu=nn.ReLU(inplace=True))
    bound, images = bind(NET_SHAPE), make_images(2, NET_SHAPE)
    with torch.no_grad():
        assert (model.stem(images) < 0).float().mean() > 0.2  # the ReLU has work to do
    locked = cl.lock(model, bound, inner=inner, backend=backend)
    assert difference(predict(locked, bound.encrypt(images)), predict(model, images)) <= 1e-5


@pytest.mark.parametrize("inner", INNERS)
def test_a_layer_behind_a_gather_may_change_it_in_place_while_training(inner):
    sequence = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 8 * 8, 2)
    )
    bound, images = bind((3, 8, 8)), make_images(2, (3, 8, 8))
    locked = cl.lock(sequence, bound, inner=inner)
    sequence(images).square().sum().backward()
    locked(bound.encrypt(images)).square().sum().backward()
    for (name, expected), found in zip(sequence.named_parameters(), locked.parameters(), strict=True):
        assert difference(found.grad, expected.grad) <= 1e-5, name


def squared(self, x):
    other, x = x, self.a(x)
    alias = x
    x **= 2
    return alias + x + other


def test_a_power_in_place_stays_in_place_too():
    model, bound = wrap(squared, a=nn.Conv2d(4, 4, 3, padding=1)), bind(NET_SHAPE)
    images = make_images(2, NET_SHAPE)
    assert difference(predict(cl.lock(model, bound), bound.encrypt(images)), predict(model, images)) <= 1e-5
    with pytest.raises(UsageError, match="imod"):
        cl.lock(wrap(lambda self, x: operator.imod(self.a(x), 2), a=nn.Conv2d(4, 4, 1)), bound)


def changed_under_another_name(self, x):
    """``+=`` and its like change the map that the other name stands for, too."""
    sums = self.a(x)
    other, before = sums, self.b(sums)
    sums += self.b(x)
    sums *= self.a(x)
    sums -= before
    sums /= 1.5
    return self.b(other)


@pytest.mark.parametrize("inner", INNERS)
def test_operations_in_place_stay_in_place(inner):
    layers = {name: nn.Conv2d(4, 4, 3, padding=1) for name in "ab"}
    model, bound, images = wrap(changed_under_another_name, **layers), bind(NET_SHAPE), make_images(2, NET_SHAPE)
    locked = cl.lock(model, bound, inner=inner)
    assert difference(predict(locked, bound.encrypt(images)), predict(model, images)) <= 1e-5
    targets = {node.target for node in locked.graph.nodes}
    assert {operator.iadd, operator.imul, operator.isub, operator.itruediv} <= targets


def test_a_gather_is_shared_by_all_who_read_the_same_map():
    model = wrap(
        lambda self, x: self.a(x) + self.b(x), a=nn.Conv2d(4, 4, 3, padding=1), b=nn.Conv2d(4, 4, 5, padding=2)
    )
    locked = cl.lock(model, bind(NET_SHAPE))
    # Input; stem out, in; a, b out; sum in; last out: the classifier takes the order of its own.
    assert len(locked.get_submodule("_keyed")) == 8


def test_a_half_precision_copy_still_works():
    model, bound, images = make_net(), bind(NET_SHAPE), torch.rand(2, *NET_SHAPE)
    locked = cl.lock(model, bound).bfloat16()
    found = predict(locked, bound.encrypt(images).bfloat16())
    assert found.dtype == torch.bfloat16
    assert difference(found.float(), predict(model, images)) < 0.05
    with torch.autocast("cpu", torch.bfloat16):
        for backend in ("gather", "deform"):
            found = predict(cl.lock(model, bound, backend=backend), bound.encrypt(images))
            assert difference(found.float(), predict(model, images).float()) < 0.05


def conv(inputs=4, outputs=4, kernel=3, **options):
    return nn.Conv2d(inputs, outputs, kernel, padding="same", **options)


def alias_in_between(self, x):
    """A ReLU changes a map in place through another name of it, between two layers that read the map."""
    before = self.conv(x)
    F.relu_(self.alias(x))
    return before + self.conv(x)


def slice_in_between(self, x):
    before, half = self.conv(x), x[:, :2]
    half.relu_()
    return before + self.conv(x)


def changed_in_place(self, x):
    x.add_(self.position)
    return x


def scaled_by_rows(self, x):
    return x * self.rows(x).sigmoid() * self.columns(x).sigmoid()


def hooked(layer):
    layer.register_forward_hook(lambda _module, _inputs, output: output * 2)
    return layer


class DoublingLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


class DropPath(nn.Module):
    """Not timm's: only the name is the same."""

    def forward(self, x):
        return x.roll(1, 2)


def attribute(name):
    return lambda self, x: self.conv(getattr(x, name))


def on_rows(self, x):
    return self.rows(x.reshape(-1, 16, 16)).reshape(-1, 4, 16, 16)


def in_channels_last(self, x):
    return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def flattened_sum(self, x):
    total = torch.flatten(x, 1) + torch.flatten(self.down(x), 1)
    return self.linear(total).view(-1, 4, 1, 1) + x


def attended(self, x):
    return x * self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()


STEPS = {
    "alias by identity": lambda: wrap(alias_in_between, conv=conv(), alias=nn.Identity()),
    "alias by dropout": lambda: wrap(alias_in_between, conv=conv(), alias=nn.Dropout()),
    "slice": lambda: wrap(slice_in_between, conv=conv()),
    "input changed in place": lambda: Applied(
        lambda self, x: self.tail(changed_in_place(self, x * 1)) + self.tail(changed_in_place(self, x)),
        tail=nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 14 * 14, 4)),
        position=nn.Parameter(torch.randn(1, 3, 16, 16)),
    ),
    "input changed in place, unused": lambda: Applied(
        lambda self, x: (x.add_(self.position), self.tail(x))[1],
        tail=nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 14 * 14, 4)),
        position=nn.Parameter(torch.randn(1, 3, 16, 16)),
    ),
    "rows and columns": lambda: wrap(
        scaled_by_rows, rows=nn.AdaptiveAvgPool2d((None, 1)), columns=nn.AdaptiveAvgPool2d((1, None))
    ),
    "flattened maps of two sizes": lambda: wrap(
        flattened_sum, down=nn.Conv2d(4, 16, 2, 2), linear=nn.Linear(1024, 4)
    ),
    "attribute mT": lambda: wrap(attribute("mT"), conv=conv()),
    "attribute data": lambda: wrap(attribute("data"), conv=conv()),
    "attribute real": lambda: wrap(attribute("real"), conv=conv()),
    "linear on rows": lambda: wrap(on_rows, rows=nn.Linear(16, 16)),
    "linear on channel means": lambda: wrap(
        lambda self, x: x * self.rows(x.mean(1)).mean(), rows=nn.Linear(16, 16)
    ),
    "batch norm of rows": lambda: wrap(in_channels_last, layer=nn.BatchNorm2d(16)),
    "prelu of rows": lambda: wrap(in_channels_last, layer=nn.PReLU(16)),
    "three-dimensional output": lambda: Applied(lambda self, x: self.conv(x).mean(1), conv=conv(3)),
    "constant tensor": lambda: wrap(lambda self, x: x - torch.tensor([0.4, 0.5, 0.6, 0.7]).view(1, 4, 1, 1)),
    "subclass of linear": lambda: Applied(
        lambda self, x: self.linear(torch.flatten(self.conv(x), 1)), conv=conv(3), linear=DoublingLinear(1024, 4)
    ),
    "hook": lambda: wrap(
        lambda self, x: x + self.up(self.down(x)), down=hooked(nn.Conv2d(4, 4, 2, 2)), up=nn.Upsample((16, 16))
    ),
    "name of another layer": lambda: wrap(lambda self, x: self.path(x), path=DropPath()),
    "three-dimensional parameter": lambda: wrap(lambda self, x: x, unused=nn.Conv3d(1, 1, 1)),
    "spatial attention": lambda: wrap(attended, conv=conv(2, 1)),
    "position embedding": lambda: wrap(
        lambda self, x: x + self.table, table=nn.Parameter(torch.randn(1, 4, 16, 16))
    ),
    "expanded value": lambda: wrap(
        lambda self, x: x + self.pool(x).expand(-1, -1, 16, 16), pool=nn.AdaptiveMaxPool2d(1)
    ),
    "groups apart": lambda: wrap(
        lambda self, x: x.reshape(-1, 2, 2, 16, 16).transpose(1, 2).reshape(-1, 4, 16, 16)
    ),
    "divided by the mean": lambda: wrap(lambda self, x: 1 - x / x.abs().mean()),
    "residual of the image": lambda: Applied(
        lambda self, x: self.tail(x + self.conv(x)),
        conv=conv(3, 3),
        tail=nn.Sequential(nn.Flatten(), nn.Linear(768, 4)),
    ),
}


@pytest.mark.parametrize("inner", INNERS)
@pytest.mark.parametrize("name", STEPS)
def test_a_model_converts_exactly_or_is_refused(name, inner):
    torch.manual_seed(11)
    model, bound, images = STEPS[name]().eval(), bind(NET_SHAPE), make_images(2, NET_SHAPE)
    plain = predict(model, images.clone())
    assert difference(predict(model, bound.encrypt(images)), plain) > 1e-3
    for backend in ("gather", "deform"):
        try:
            locked = cl.lock(model, bound, inner=inner, backend=backend)
        except UsageError as error:
            assert error.hint and inner == "shuffled"
            continue
        found = predict(locked, bound.encrypt(images))
        if found.ndim == 3 and inner == "shuffled":  # a map leaves in the client's order
            found = bind((1, *NET_SHAPE[1:])).decrypt(found[:, None])[:, 0]
        assert difference(found, plain) <= 1e-5


@pytest.mark.parametrize("size", [(15, 16), (32, 32), (8, 32)])
def test_deformable_convolutions_refuse_images_of_another_size(size):
    locked = cl.lock(make_net(), bind(NET_SHAPE), backend="deform")
    with pytest.raises(ShapeError, match="16x16"):
        locked(torch.rand(1, 3, *size))


def test_a_frozen_normalisation_stays_frozen():
    model = make_net().train()
    model.norm.eval()
    locked = cl.lock(model, bind(NET_SHAPE))
    assert locked.training and not locked.norm.training


class Spatial(nn.Module):
    """Attention over positions from a mean and a sum over channels, in NumPy's words."""

    def __init__(self, **options):
        super().__init__()
        self.conv, self.mix, self.options = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1), options

    def forward(self, x):
        x = self.conv(x)
        parts = [x.mean(keepdim=True, **self.options), x.sum(keepdim=True, **self.options)]
        return (x * self.mix(torch.cat(tensors=parts, dim=1)).sigmoid()).mean((2, 3))


@pytest.mark.parametrize("options", [{"axis": 1}, {"dim": 1}, {"axis": -3}])
def test_an_axis_is_a_dimension(options):
    torch.manual_seed(3)
    model, bound, images = Spatial(**options).eval(), bind(NET_SHAPE), make_images(2, NET_SHAPE)
    assert difference(predict(cl.lock(model, bound), bound.encrypt(images)), predict(model, images)) < 1e-5
    with pytest.raises(UsageError, match="not all of height and width"):
        cl.lock(Spatial(axis=3), bound)


def test_a_normalisation_with_a_bias_per_position_is_refused():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bias = nn.Conv2d(3, 4, 3, padding=1), nn.Parameter(torch.randn(16, 16))

        def forward(self, x):
            return F.layer_norm(self.conv(x), (16, 16), None, self.bias).mean((2, 3))

    with pytest.raises(UsageError, match="weights per position"):
        cl.lock(Shifted(), bind(NET_SHAPE))


def test_a_dropout_that_is_always_on_stays_on():
    class Uncertain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            return F.dropout(self.conv(x), 0.5, training=True).mean((2, 3))

    locked = cl.lock(Uncertain().eval(), bind(NET_SHAPE)).eval()
    images = make_images(2, NET_SHAPE)
    assert difference(locked(images), locked(images)) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_deformable_convolutions_survive_another_precision(dtype):
    torch.manual_seed(0)
    model, bound, images = make_net().eval(), bind(NET_SHAPE), make_images(2, NET_SHAPE)
    locked = cl.lock(model, bound, backend="deform").to(dtype)
    found = predict(locked, bound.encrypt(images).to(dtype)).float()
    assert difference(found, predict(model, images)) < (1e-5 if dtype == torch.float64 else 0.1)


@pytest.mark.parametrize("made_there", [False, True])
def test_inside_inference_mode(made_there: bool) -> None:
    """The result is the same, and can be trained outside."""
    torch.manual_seed(0)
    with torch.inference_mode(made_there):
        model = cl.create_model("preresnet20", 10).eval()
    key = cl.Key.generate()
    bound = cl.create_cipher("pixel-permutation").bind(key, (3, 16, 16))
    with torch.inference_mode():
        locked = cl.lock(model, bound)
        seen = locked(torch.ones(1, 3, 16, 16))
    with torch.no_grad():
        assert torch.allclose(seen, cl.lock(model, bound)(torch.ones(1, 3, 16, 16)), atol=1e-6)
    locked(torch.ones(1, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in locked.parameters())
