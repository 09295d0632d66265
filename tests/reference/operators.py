"""Keyed operators again, as loops over images, positions and taps.

An order holds the convention of ``pixel-permutation``: ``stored[..., i] = true[..., order[i]]`` on flattened
positions. ``None`` stands for the true order; padding is (top, left, bottom, right).
"""

import numpy as np


def store(maps, order):
    height, width = maps.shape[2:]
    out = np.empty_like(maps)
    for place in range(height * width):
        true = place if order is None else int(order[place])
        out[:, :, place // width, place % width] = maps[:, :, true // width, true % width]
    return out


def restore(maps, order):
    height, width = maps.shape[2:]
    out = np.empty_like(maps)
    for place in range(height * width):
        true = place if order is None else int(order[place])
        out[:, :, true // width, true % width] = maps[:, :, place // width, place % width]
    return out


def output_size(size, kernel, stride, dilation, padding):
    """Counted, not computed: how many windows begin so that they end inside the padded map."""
    sides = []
    for axis in (0, 1):
        padded = size[axis] + padding[axis] + padding[axis + 2]
        starts = range(0, padded, stride[axis])
        sides.append(sum(start + (kernel[axis] - 1) * dilation[axis] < padded for start in starts))
    return tuple(sides)


def tap_position(size, out, tap, stride, dilation, padding, reflect):
    """True (row, column) that a tap of an output position reads; None in zero padding."""
    place = []
    for axis in (0, 1):
        at = out[axis] * stride[axis] + tap[axis] * dilation[axis] - padding[axis]
        last = size[axis] - 1
        if reflect and at < 0:
            at = -at
        elif reflect and at > last:
            at = last - (at - last)
        if not 0 <= at <= last:
            return None
        place.append(at)
    return tuple(place)


def stored_place(position, width, order):
    """Where a true (row, column) is stored, found by searching the order."""
    flat = position[0] * width + position[1]
    return flat if order is None else list(order).index(flat)


def windows(size, kernel, stride, dilation, padding, reflect, source, target):
    """Per stored output position the stored input positions of its taps, row-major; -1 in zero padding."""
    height, width = output_size(size, kernel, stride, dilation, padding)
    found = []
    for place in range(height * width):
        true = place if target is None else int(target[place])
        taps = []
        for row in range(kernel[0]):
            for column in range(kernel[1]):
                out = (true // width, true % width)
                position = tap_position(size, out, (row, column), stride, dilation, padding, reflect)
                taps.append(-1 if position is None else stored_place(position, size[1], source))
        found.append(taps)
    return found


def convolve(maps, weight, bias, stride, dilation, padding, groups, reflect, source, target):
    """Stored maps (N, C, H, W) -> stored maps (N, C_out, H_out, W_out), in float64."""
    n, _, *size = maps.shape
    c_out, per_group, *kernel = weight.shape
    table = windows(size, kernel, stride, dilation, padding, reflect, source, target)
    height, width = output_size(size, kernel, stride, dilation, padding)
    out = np.zeros((n, c_out, height, width))
    for image in range(n):
        for channel in range(c_out):
            first = channel // (c_out // groups) * per_group
            for place, taps in enumerate(table):
                total = 0.0 if bias is None else float(bias[channel])
                for tap, where in enumerate(taps):
                    if where >= 0:
                        pixel = maps[image, first : first + per_group, where // size[1], where % size[1]]
                        total += float(pixel @ weight[channel, :, tap // kernel[1], tap % kernel[1]])
                out[image, channel, place // width, place % width] = total
    return out


def pool(maps, kernel, stride, average, source, target):
    """Max or average pooling without padding of stored maps."""
    n, channels, *size = maps.shape
    table = windows(size, kernel, stride, (1, 1), (0, 0, 0, 0), False, source, target)
    height, width = output_size(size, kernel, stride, (1, 1), (0, 0, 0, 0))
    out = np.zeros((n, channels, height, width))
    for image in range(n):
        for channel in range(channels):
            for place, taps in enumerate(table):
                pixels = [maps[image, channel, where // size[1], where % size[1]] for where in taps]
                value = sum(pixels) / len(pixels) if average else max(pixels)
                out[image, channel, place // width, place % width] = value
    return out
