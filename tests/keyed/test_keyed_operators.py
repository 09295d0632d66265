"""Operators of locked models: equal to slow loops, to torch on true maps, and exact in their gradients."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

import torch.nn.functional as F  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

import cipherlens as cl  # noqa: E402
from cipherlens.ciphers.rearrangement import invert_order  # noqa: E402
from cipherlens.errors import ShapeError  # noqa: E402
from cipherlens.keyed import operators, tables  # noqa: E402
from tests.layers import Applied  # noqa: E402
from tests.reference import operators as reference  # noqa: E402

KEY = cl.Key(bytes(range(32)))
SIZE = (3, 12, 10)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
quick = settings(max_examples=25, deadline=None)


def bind(shape, key=KEY):
    return cl.create_cipher("pixel-permutation").bind(key, tuple(shape))


def draw_order(rng, size):
    """A random order, or none."""
    return rng.permutation(size[0] * size[1]) if rng.random() < 0.8 else None


def to_numpy(tensor):
    return tensor.detach().double().numpy()


@st.composite
def convolutions(draw, disjoint=False):
    """A geometry that has an output, with groups."""
    size = draw(st.tuples(st.integers(3, 7), st.integers(3, 7)))
    kernel = draw(pairs)
    if disjoint:
        stride = tuple(side + draw(st.integers(0, 2)) for side in kernel)
        return tables.Geometry(size, kernel, stride), draw(st.sampled_from([1, 2]))
    dilation = tuple(
        draw(st.integers(1, 2 if taps < 3 or side > 4 else 1)) for taps, side in zip(kernel, size, strict=True)
    )
    stride, before, more = draw(pairs), draw(pairs), draw(st.tuples(st.integers(0, 1), st.integers(0, 1)))
    top, left = before[0] - 1, before[1] - 1
    padding = (top, left, top + more[0], left + more[1])
    reflect = draw(st.booleans()) and max(padding) < min(size)
    return tables.Geometry(size, kernel, stride, dilation, padding, reflect), draw(st.sampled_from([1, 2]))


def geometry_arguments(geometry):
    return (geometry.stride, geometry.dilation, geometry.padding)


def torch_convolution(maps, weight, bias, geometry, groups):
    """The plain convolution on true maps, padded beforehand."""
    top, left, bottom, right = geometry.padding
    mode = "reflect" if geometry.reflect else "constant"
    padded = F.pad(maps, (left, right, top, bottom), mode=mode)
    return F.conv2d(padded, weight, bias, geometry.stride, 0, geometry.dilation, groups)


def draw_tensors(seed, geometry, groups, batch):
    torch.manual_seed(seed)
    maps = torch.randn(batch, 2 * groups, *geometry.size)
    weight = torch.randn(3 * groups, 2, *geometry.kernel)
    return maps, weight, torch.randn(3 * groups) if seed % 3 else None


def check_convolution(operator, geometry, groups, orders, seed, batch):
    maps, weight, bias = draw_tensors(seed, geometry, groups, batch)
    stored = reference.store(maps.numpy(), orders[0])
    result = to_numpy(operator(torch.from_numpy(stored), weight, bias))
    weights = to_numpy(weight), None if bias is None else to_numpy(bias)
    slow = reference.convolve(
        stored.astype(float), *weights, *geometry_arguments(geometry), groups, geometry.reflect, *orders
    )
    np.testing.assert_allclose(result, slow, atol=1e-4)
    true = to_numpy(torch_convolution(maps, weight, bias, geometry, groups))
    np.testing.assert_allclose(result, reference.store(true, orders[1]), atol=1e-4)


def draw_orders(seed, geometry):
    rng = np.random.default_rng(seed)
    return draw_order(rng, geometry.size), draw_order(rng, geometry.output)


@quick
@given(convolutions(), st.integers(0, 2**20))
def test_window_index_says_what_every_tap_reads(drawn, seed):
    geometry = drawn[0]
    orders = draw_orders(seed, geometry)
    size = reference.output_size(geometry.size, geometry.kernel, *geometry_arguments(geometry))
    assert geometry.output == size
    slow = reference.windows(
        geometry.size, geometry.kernel, *geometry_arguments(geometry), geometry.reflect, *orders
    )
    np.testing.assert_array_equal(tables.window_index(geometry, *orders), slow)
    true = [tap for taps in slow for tap in taps]
    inside = -1 not in true and len(set(true)) == len(true)
    assert not geometry.disjoint or inside


@quick
@given(convolutions(), st.integers(0, 2**20), st.integers(1, 3))
def test_deformable_convolution_equals_loops_and_torch(drawn, seed, batch):
    geometry, groups = drawn
    orders = draw_orders(seed, geometry)
    check_convolution(operators.DeformConv(geometry, *orders), geometry, groups, orders, seed, batch)


@quick
@given(convolutions(disjoint=True), st.integers(0, 2**20), st.integers(1, 3))
def test_window_convolution_equals_loops_and_torch(drawn, seed, batch):
    geometry, groups = drawn
    assert geometry.disjoint
    orders = draw_orders(seed, geometry)
    operator = operators.WindowConv(geometry, *orders, groups)
    check_convolution(operator, geometry, groups, orders, seed, batch)


@quick
@given(convolutions(disjoint=True), st.integers(0, 2**20), st.integers(1, 3), st.booleans())
def test_window_pooling_equals_loops_and_torch(drawn, seed, batch, average):
    geometry = drawn[0]
    orders = draw_orders(seed, geometry)
    maps = torch.from_numpy(np.random.default_rng(seed).normal(size=(batch, 3, *geometry.size)))
    stored = reference.store(maps.numpy(), orders[0])
    result = to_numpy(operators.WindowPool(geometry, *orders, average)(torch.from_numpy(stored)))
    slow = reference.pool(stored, geometry.kernel, geometry.stride, average, *orders)
    np.testing.assert_allclose(result, slow, atol=1e-12)
    true = (F.avg_pool2d if average else F.max_pool2d)(maps, geometry.kernel, geometry.stride)
    np.testing.assert_allclose(result, reference.store(true.numpy(), orders[1]), atol=1e-12)


@quick
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**20))
def test_gather_stores_and_restores(height, width, batch, seed):
    order = np.random.default_rng(seed).permutation(height * width)
    maps = torch.from_numpy(np.random.default_rng(seed).normal(size=(batch, 3, height, width)))
    stored = operators.Gather(order, (height, width))(maps)
    assert np.array_equal(stored.numpy(), reference.store(maps.numpy(), order))
    back = operators.Gather(invert_order(order), (height, width))
    assert torch.equal(back(stored), maps)
    last = operators.Gather(order, (height, width), axes=(1, 2))(maps.permute(0, 2, 3, 1))
    assert torch.equal(last.permute(0, 3, 1, 2), stored)


@quick
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**20))
def test_compose_turns_one_order_into_another(height, width, seed):
    rng = np.random.default_rng(seed)
    source, target = draw_order(rng, (height, width)), draw_order(rng, (height, width))
    maps = rng.normal(size=(2, 3, height, width))
    index = tables.compose(source, target, height * width)
    found = reference.store(reference.store(maps, source), index)
    np.testing.assert_array_equal(found, reference.store(maps, target))
    if source is not None:
        assert tables.compose(source, source.copy(), height * width) is None


@pytest.mark.parametrize("count", [12, 5])
@pytest.mark.parametrize("axes", [(2, 3), (1, 2)])
def test_gradient_of_a_gather_is_that_of_plain_indexing(axes, count):
    torch.manual_seed(0)
    index = torch.randperm(12)[:count]
    shape = (3, 4) if count == 12 else (5, 1)
    gather = operators.Gather(index.numpy(), (3, 4), shape, axes)
    maps = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, *shape, dtype=torch.float64)

    def through_gather(x):
        return gather(x) if axes == (2, 3) else gather(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def through_indexing(x):
        return x.flatten(2)[:, :, index].reshape(2, 2, *shape)

    found, expected = (
        torch.autograd.grad((f(maps) ** 3 * weight).sum(), maps)[0] for f in (through_gather, through_indexing)
    )
    assert torch.equal(found, expected) and found.abs().max() > 0
    assert torch.autograd.gradcheck(through_gather, maps)
    assert torch.autograd.gradgradcheck(lambda x: through_gather(x) ** 2, maps)


@pytest.mark.parametrize("shape", [(1, 2, 4, 3), (1, 2, 3, 5), (1, 2, 2, 6), (1, 2, 6, 2)])
def test_gather_refuses_maps_of_another_size(shape):
    gather = operators.Gather(np.random.default_rng(0).permutation(12), (3, 4))
    with pytest.raises(ShapeError, match=f"3x4, not {shape[2]}x{shape[3]}"):
        gather(torch.zeros(shape))


@quick
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**20))
def test_linear_on_a_flattened_map_equals_linear_on_the_restored_map(height, width, channels, batch, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(height * width)
    stored = rng.normal(size=(batch, channels, height, width))
    weight = torch.from_numpy(rng.normal(size=(5, channels * height * width)))
    bias = torch.from_numpy(rng.normal(size=5)) if seed % 2 else None
    found = operators.FlatLinear(order, channels)(torch.from_numpy(stored).flatten(1), weight, bias)
    true = torch.from_numpy(reference.restore(stored, order)).flatten(1)
    torch.testing.assert_close(found, F.linear(true, weight, bias))


def test_operators_keep_no_state_and_print_no_tables():
    order = np.random.default_rng(0).permutation(16)
    geometry = tables.Geometry((4, 4), (2, 2), (2, 2))
    made = [
        operators.Gather(order, (4, 4)),
        operators.WindowConv(geometry, order, None),
        operators.WindowPool(geometry, order, None, average=True),
        operators.DeformConv(geometry, order, None),
        operators.FlatLinear(order, 2),
    ]
    for operator in made:
        assert not operator.state_dict() and not list(operator.parameters())
        assert list(operator.buffers())
        assert "tensor(" not in repr(operator) and "array(" not in repr(operator)


def conv(inputs=3, outputs=4, kernel=3, **options):
    return nn.Conv2d(inputs, outputs, kernel, **options)


def joined(self, x):
    first, second = self.first(x), self.second(x)
    return self.last(torch.cat([first, second, first + second], 1))


def squeeze_and_excite(self, x):
    x = self.first(x)
    scale = self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))).sigmoid()
    return self.last(x * scale)


def interpolated(self, x):
    x = self.first(x)
    small = F.interpolate(x, scale_factor=0.5, mode="area")
    large = F.interpolate(self.second(small), size=x.shape[-2:], mode="bilinear", align_corners=False)
    return self.last(x + large)


def reused(self, x):
    """One map read by convolutions before and after a ReLU changes it in place."""
    x = self.first(x)
    before = self.second(x)
    activated = self.relu(x)
    return self.last(before + self.second(x) + activated)


def in_place(self, x):
    x = self.first(x)
    kept = self.second(x)
    x += kept
    x = F.relu(x, True)
    return self.last(self.second(x)).mul_(2)


def channels_last(self, x):
    x = self.first(x).permute(0, 2, 3, 1)
    return self.last(self.mix(self.norm(x)).permute(0, 3, 1, 2))


def cut_in_channels(self, x):
    first, second = self.first(x).chunk(2, 1)
    mixed = torch.stack([second, first], 2).flatten(1, 2)
    return self.last(mixed[:, :2]) + self.last(mixed[:, 2:])


def repeated_layer(self, x):
    for _ in range(3):
        x = self.first(x)
    return x.amax((2, 3))


NETWORKS = {
    "conv": lambda: nn.Sequential(conv(stride=2, padding=1), nn.ReLU(inplace=True), conv(4, 4, dilation=2)),
    "grouped": lambda: nn.Sequential(conv(outputs=6, groups=3, padding=2), conv(6, 4, (3, 2), groups=2)),
    "one-sided": lambda: nn.Sequential(conv(kernel=(1, 3), padding=(0, 1)), conv(4, 4, (2, 1), stride=(1, 2))),
    "same": lambda: nn.Sequential(conv(kernel=4, padding="same"), conv(4, 4, 2, padding="same", dilation=3)),
    "patches": lambda: nn.Sequential(conv(kernel=2, stride=2), conv(4, 4, 1, stride=2), conv(4, 4, 1)),
    "grouped patches": lambda: nn.Sequential(conv(outputs=6, kernel=2, stride=2, groups=3), conv(6, 4, 1)),
    "whole windows, ceil": lambda: nn.Sequential(
        conv(), nn.MaxPool2d(3, ceil_mode=True), conv(4, 4, 1), nn.AvgPool2d(2, ceil_mode=True)
    ),
    "padded 1x1": lambda: nn.Sequential(conv(kernel=1, padding=1), conv(4, 2, 1, padding="same")),
    "reflect": lambda: nn.Sequential(conv(padding=2, padding_mode="reflect"), conv(4, 4, stride=2)),
    "circular": lambda: nn.Sequential(conv(padding=1, padding_mode="circular"), conv(4, 4, padding=1)),
    "replicate": lambda: nn.Sequential(conv(padding=1, padding_mode="replicate"), conv(4, 4)),
    "batch norm": lambda: nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(), conv(4)),
    "max pool": lambda: nn.Sequential(conv(), nn.MaxPool2d(2), nn.MaxPool2d(3, 1, 1), conv(4)),
    "max pool, ceil": lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1, ceil_mode=True), conv(), nn.MaxPool2d(3, 2)),
    "max pool, gaps": lambda: nn.Sequential(nn.MaxPool2d(2, 3), conv(), nn.MaxPool2d(1, 2)),
    "max pool, dilated": lambda: nn.Sequential(conv(), nn.MaxPool2d(2, 1, dilation=2), conv(4)),
    "average pool": lambda: nn.Sequential(conv(), nn.AvgPool2d(2), nn.AvgPool2d(3, 1, 1), conv(4)),
    "average pool, ceil": lambda: nn.Sequential(nn.AvgPool2d(3, 2, 1, ceil_mode=True), conv(), nn.AvgPool2d(2, 1)),
    "average pool, options": lambda: nn.Sequential(
        nn.AvgPool2d(2, 2, divisor_override=3), nn.AvgPool2d(3, 2, 1, count_include_pad=False)
    ),
    "global average": lambda: nn.Sequential(conv(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    "global maximum": lambda: nn.Sequential(conv(), nn.AdaptiveMaxPool2d(1), conv(4, 3, 1)),
    "adaptive average": lambda: nn.Sequential(conv(), nn.AdaptiveAvgPool2d((3, 4)), conv(4, 4, 2)),
    "adaptive maximum": lambda: nn.Sequential(conv(), nn.AdaptiveMaxPool2d(3), nn.Flatten(), nn.Linear(36, 3)),
    "transposed": lambda: nn.Sequential(
        conv(), nn.ConvTranspose2d(4, 4, 2, 2), nn.ConvTranspose2d(4, 2, 3, 2, 1, 1)
    ),
    "upsampled": lambda: nn.Sequential(conv(), nn.Upsample(scale_factor=2), nn.Upsample((9, 7)), conv(4)),
    "bilinear": lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), conv()),
    "from one pixel": lambda: nn.Sequential(
        conv(), nn.AdaptiveAvgPool2d(1), nn.Upsample((5, 6)), conv(4, padding=1)
    ),
    "flattened": lambda: nn.Sequential(conv(), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(320, 3)),
    "flattened image": lambda: nn.Sequential(nn.Flatten(), nn.Linear(360, 6), nn.ReLU(), nn.Linear(6, 3)),
    "group norm": lambda: nn.Sequential(conv(), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), conv(4)),
    "prelu": lambda: nn.Sequential(conv(), nn.PReLU(4), nn.Softmax(1), nn.ZeroPad2d((1, 0, 2, 3)), conv(4)),
    "shuffle": lambda: nn.Sequential(conv(), nn.PixelShuffle(2), conv(1, 2), nn.PixelUnshuffle(2)),
    "cat and add": lambda: Applied(joined, first=conv(padding=1), second=conv(kernel=1), last=conv(12, 2)),
    "add of pooled maps": lambda: Applied(
        lambda self, x: self.last(self.first(x) + self.second(x)),
        first=nn.MaxPool2d(2),
        second=nn.AvgPool2d(2),
        last=conv(),
    ),
    "squeeze-and-excitation": lambda: Applied(
        squeeze_and_excite, first=conv(), down=conv(4, 2, 1), up=conv(2, 4, 1), last=conv(4)
    ),
    "interpolated": lambda: Applied(interpolated, first=conv(), second=conv(4, 4, 1), last=conv(4)),
    "in-place ReLU, two readers": lambda: Applied(
        reused, first=conv(), second=conv(4, padding=1), relu=nn.ReLU(inplace=True), last=conv(4)
    ),
    "in-place functions": lambda: Applied(in_place, first=conv(), second=conv(4, padding=1), last=conv(4)),
    "channels last": lambda: Applied(
        channels_last, first=conv(), norm=nn.LayerNorm(4), mix=nn.Linear(4, 5), last=conv(5)
    ),
    "cut in channels": lambda: Applied(cut_in_channels, first=conv(), last=conv(2)),
    "one layer thrice": lambda: Applied(repeated_layer, first=conv(3, 3)),
}


def make_network(name):
    torch.manual_seed(sum(map(ord, name)))
    model = NETWORKS[name]().double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("inner", ["shuffled", "plain"])
@pytest.mark.parametrize("name", NETWORKS)
def test_small_networks_are_exact_under_both_backends(name, inner):
    model, bound = make_network(name), bind(SIZE)
    images = torch.randn(3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        plain = model(images.clone())
        assert not torch.allclose(model(bound.encrypt(images)), plain, rtol=0.01)
        for backend, tolerance in (("gather", 1e-12), ("deform", 2e-5)):
            locked = cl.lock(model, bound, inner=inner, backend=backend)
            result = locked(bound.encrypt(images))
            if plain.ndim == 4 and plain.shape[-2:] != (1, 1) and inner == "shuffled":
                assert not torch.allclose(result, plain, rtol=0.01)
                result = bind(plain.shape[1:]).decrypt(result)
            assert result.shape == plain.shape and result.dtype == plain.dtype
            assert (result - plain).abs().max() <= tolerance * plain.abs().max(), backend


@st.composite
def random_networks(draw):
    """Convolutions and poolings of random options one after another."""
    layers, channels, sides = [], 3, [12, 10]
    for _ in range(draw(st.integers(1, 4))):
        kernel, stride = draw(pairs), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
        padding = tuple(draw(st.integers(0, side // 2)) for side in kernel)
        after = [(s + 2 * p - k) // t + 1 for s, p, k, t in zip(sides, padding, kernel, stride, strict=True)]
        if min(after) < 3:
            break
        kind = draw(st.sampled_from(["conv", "max", "average"]))
        if kind == "conv":
            mode = draw(st.sampled_from(["zeros", "reflect"]))
            layers += [conv(channels, 4, kernel, stride=stride, padding=padding, padding_mode=mode), nn.Tanh()]
            channels = 4
        else:
            layers.append((nn.MaxPool2d if kind == "max" else nn.AvgPool2d)(kernel, stride, padding))
        sides = after
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * sides[0] * sides[1], 5))


@settings(max_examples=20, deadline=None)
@given(
    random_networks(),
    st.sampled_from(["shuffled", "plain"]),
    st.integers(1, 3),
    st.binary(min_size=32, max_size=32),
)
def test_random_networks_are_exact_under_both_backends(model, inner, batch, key):
    bound = bind(SIZE, cl.Key(key))
    images = torch.randn(batch, *SIZE)
    with torch.no_grad():
        plain = model(images)
        for backend in ("gather", "deform"):
            found = cl.lock(model, bound, inner=inner, backend=backend)(bound.encrypt(images))
            torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-4)
