"""Ciphers again, as loops over images, channels, blocks and pixels, from docs/ciphers.md and the secret alone.

``SCHEMES`` maps the name of a scheme to a function (secret, images, **params) -> ciphertext.
"""

from functools import cache

import numpy as np

from tests.reference.keystream import Stream, subkey


def hill(images, matrices, block):
    """c = p @ K[channel] block by block, as the CAS771 report defines it."""
    out = np.zeros(images.shape, np.float64)
    n, channels, height, width = images.shape
    for image in range(n):
        for channel in range(channels):
            for top in range(0, height, block):
                for left in range(0, width, block):
                    patch = images[image, channel, top : top + block, left : left + block]
                    row = patch.astype(np.float64).reshape(-1) @ matrices[channel].astype(np.float64)
                    out[image, channel, top : top + block, left : left + block] = row.reshape(block, block)
    return out


def hill_mod256(images, matrices, block):
    exact = hill(images, matrices, block)
    return np.mod(exact, 256).astype(np.uint8)


def permute_pixels(images, order):
    out = np.empty_like(images)
    n, channels, _, width = images.shape
    for image in range(n):
        for channel in range(channels):
            for target, source in enumerate(order):
                out[image, channel, target // width, target % width] = images[
                    image, channel, source // width, source % width
                ]
    return out


def determinant_is_odd(matrix):
    """Determinant modulo 2 by elimination over GF(2) on Python integers."""
    rows = [sum((value & 1) << column for column, value in enumerate(row)) for row in matrix]
    for column in range(len(rows)):
        pivot = next((i for i in range(column, len(rows)) if rows[i] >> column & 1), None)
        if pivot is None:
            return False
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for i in range(column + 1, len(rows)):
            if rows[i] >> column & 1:
                rows[i] ^= rows[column]
    return True


def first_invertible(stream, size):
    while True:
        matrix = stream.byte_matrix(size)
        if determinant_is_odd(matrix):
            return matrix


def split(image, block):
    """Blocks row by row, each a list of its values in (row, column, channel) order."""
    channels, height, width = len(image), len(image[0]), len(image[0][0])
    return [
        [
            image[channel][top + row][left + column]
            for row in range(block)
            for column in range(block)
            for channel in range(channels)
        ]
        for top in range(0, height, block)
        for left in range(0, width, block)
    ]


def join(blocks, block, shape):
    channels, height, width = shape
    image = [[[None] * width for _ in range(height)] for _ in range(channels)]
    for number, values in enumerate(blocks):
        top, left = number // (width // block) * block, number % (width // block) * block
        for place, value in enumerate(values):
            pixel, channel = place // channels, place % channels
            image[channel][top + pixel // block][left + pixel % block] = value
    return image


def by_blocks(images, block, change):
    """``change`` maps the list of the blocks of an image to the list of new blocks."""
    shape = images.shape[1:]
    out = [join(change(split(image, block)), block, shape) for image in images.tolist()]
    return np.array(out, images.dtype).reshape(images.shape)


def permuted(values, order):
    return [values[source] for source in order]


def inverted(values, marks):
    return [255 - value if mark else value for value, mark in zip(values, marks, strict=True)]


def sizes(images, block):
    _, channels, height, width = images.shape
    return block * block * channels, (height // block) * (width // block)


def shape_text(images):
    return "x".join(str(side) for side in images.shape[1:])


def pixel_permutation(secret, images):
    height, width = images.shape[2:]
    order = Stream(secret, f"pixel-permutation:{height}x{width}").permutation(height * width)
    return permute_pixels(images, order)


def whole_hill_mod256(secret, images, block=4):
    label = f"hill-mod256:block={block}:channel="
    matrices = [first_invertible(Stream(secret, f"{label}{c}"), block * block) for c in range(images.shape[1])]
    return hill_mod256(images, np.array(matrices), block)


def block_scrambling(secret, images, block=4):
    height, width = images.shape[2:]
    _, count = sizes(images, block)
    order = Stream(secret, f"block-scrambling:block={block}:{height}x{width}").permutation(count)
    return by_blocks(images, block, lambda blocks: permuted(blocks, order))


def shf(secret, images, block=4):
    length, _ = sizes(images, block)
    order = Stream(secret, f"shf:block={block}:channels={images.shape[1]}").permutation(length)
    return by_blocks(images, block, lambda blocks: [permuted(values, order) for values in blocks])


def np_(secret, images, block=4):
    length, _ = sizes(images, block)
    marks = Stream(secret, f"np:block={block}:channels={images.shape[1]}").bits(length)
    return by_blocks(images, block, lambda blocks: [inverted(values, marks) for values in blocks])


@cache
def ffx_table(secret):
    order = Stream(secret, "ffx:digits").permutation(1000)
    table = []
    for value in range(256):
        step = order[value]
        while step > 255:
            step = order[step]
        table.append(step)
    return table


def ffx(secret, images, block=4):
    length, _ = sizes(images, block)
    marks = Stream(secret, f"ffx:block={block}:channels={images.shape[1]}:places").bits(length)
    table = ffx_table(secret)

    def change(values):
        return [table[value] if mark else value for value, mark in zip(values, marks, strict=True)]

    return by_blocks(images, block, lambda blocks: [change(values) for values in blocks])


def invert_values(images, marks):
    flat = [inverted(image, marks) for image in images.reshape(len(images), -1).tolist()] if images.size else []
    return np.array(flat, np.uint8).reshape(images.shape)


def negpos(secret, images):
    return invert_values(
        images,
        Stream(secret, f"negpos:{shape_text(images)}").bits(images.shape[1] * images.shape[2] * images.shape[3]),
    )


def pe(secret, images, colour=True):
    n, channels, height, width = images.shape
    out = images.copy()
    rows = Stream(secret, f"pe:colour:{shape_text(images)}").permutations(height * width, channels)
    for image in range(n if colour else 0):
        for pixel, row in enumerate(rows):
            for channel, source in enumerate(row):
                place = (pixel // width, pixel % width)
                out[image, channel, *place] = images[image, source, *place]
    return invert_values(out, Stream(secret, f"pe:negpos:{shape_text(images)}").bits(channels * height * width))


def half_bytes(values, key):
    """A block under LE: split, invert, permute, invert, put together."""
    length = len(values)
    halves = [value & 15 for value in values] + [value >> 4 for value in values]
    reverse = [place > length for place in key]
    halves = [15 - half if mark else half for half, mark in zip(halves, reverse, strict=True)]
    halves = permuted(halves, key)
    halves = [15 - half if mark else half for half, mark in zip(halves, reverse, strict=True)]
    return [halves[i] + 16 * halves[length + i] for i in range(length)]


def le(secret, images, block=4):
    length, _ = sizes(images, block)
    key = Stream(secret, f"le:block={block}:channels={images.shape[1]}").permutation(2 * length)
    return by_blocks(images, block, lambda blocks: [half_bytes(values, key) for values in blocks])


def ele(secret, images, block=4):
    length, count = sizes(images, block)
    label = f"ele:block={block}:{shape_text(images)}"
    keys = Stream(secret, f"{label}:keys").permutations(count, 2 * length)
    order = Stream(secret, f"{label}:positions").permutation(count)

    def change(blocks):
        return permuted([half_bytes(values, key) for values, key in zip(blocks, keys, strict=True)], order)

    return by_blocks(images, block, change)


def turned(pixels, block, turn):
    """Square of pixels, row by row: quarter turns counterclockwise, then perhaps left and right exchanged."""
    square = [pixels[row * block : (row + 1) * block] for row in range(block)]
    for _ in range(turn % 4):
        square = [[square[column][block - 1 - row] for column in range(block)] for row in range(block)]
    if turn >= 4:
        square = [row[::-1] for row in square]
    return [pixel for row in square for pixel in row]


def coloured(pixel, row, legacy):
    pixel = list(pixel)
    if not legacy:
        return permuted(pixel, row)
    for channel, source in enumerate(row):
        pixel[channel] = pixel[source]
    return pixel


def side_by_side(images):
    n, channels, height, width = images.shape
    out = np.zeros((n, 1, height, channels * width), images.dtype)
    for channel in range(channels):
        for column in range(width):
            out[:, 0, :, channel * width + column] = images[:, channel, :, column]
    return out


def etc(secret, images, block=16, grey=False, legacy=False):
    images = side_by_side(images) if grey else images
    channels, (_, count) = images.shape[1], sizes(images, block)
    label = f"etc:block={block}:{shape_text(images)}"
    order = Stream(secret, f"{label}:positions").permutation(count)
    turns = Stream(secret, f"{label}:turns").integers(8, count)
    rows = Stream(secret, f"{label}:colours").permutations(count, channels)
    marks = Stream(secret, f"{label}:negatives").bits(count)

    def change(blocks):
        out = []
        for j, source in enumerate(order):
            values = blocks[source]
            pixels = [values[i : i + channels] for i in range(0, len(values), channels)]
            pixels = [coloured(pixel, rows[j], legacy) for pixel in turned(pixels, block, turns[j])]
            out.append([255 - value if marks[j] else value for pixel in pixels for value in pixel])
        return out

    return by_blocks(images, block, change)


def etc_legacy(secret, images, **params):
    return etc(secret, images, legacy=True, **params)


def orthogonal_matrix(stream, size):
    """Stewart (1980): reflections that take normal vectors of falling length to the positive first axis."""
    matrix = np.eye(size)
    for start in range(size):
        vector = np.array(stream.normals(size - start))
        sign = 1.0 if vector[0] >= 0 else -1.0
        vector[0] += sign * np.sqrt(vector @ vector)
        step = np.eye(size)
        step[start:, start:] -= 2 * np.outer(vector, vector) / (vector @ vector)
        step[start] *= -sign
        matrix = step @ matrix
    return matrix


def patch(secret, images, block=4, orthogonal=False, scramble=False):
    length, count = sizes(images, block)
    label = f"patch:block={block}:channels={images.shape[1]}"
    height, width = images.shape[2:]
    places = list(range(count))
    if scramble:
        places = Stream(secret, f"patch:block={block}:{height}x{width}").permutation(count)
    if not orthogonal:
        order = Stream(secret, f"{label}:permutation").permutation(length)
        return by_blocks(images, block, lambda blocks: permuted([permuted(v, order) for v in blocks], places))
    matrix = orthogonal_matrix(Stream(secret, f"{label}:orthogonal"), length)
    scaled = images / 255 if images.dtype == np.uint8 else images.astype(np.float64)
    turn = by_blocks(
        scaled, block, lambda blocks: permuted([(np.array(v) @ matrix).tolist() for v in blocks], places)
    )
    return turn.astype(np.float32)


def composed(secret, images, parts):
    """``parts`` are pairs of a name and its parameters, applied one after the other."""
    for number, (name, params) in enumerate(parts):
        images = SCHEMES[name](subkey(secret, f"compose:{number}"), images, **params)
    return images


def per_image(secret, images, numbers, name, **params):
    """Image number k of the source under its own key."""
    pairs = zip(images, numbers, strict=True)
    return np.concatenate(
        [SCHEMES[name](subkey(secret, f"image:{k}"), image[None], **params) for image, k in pairs]
    )


SCHEMES = {
    "block-scrambling": block_scrambling,
    "etc": etc,
    "etc-legacy": etc_legacy,
    "ele": ele,
    "ffx": ffx,
    "hill-mod256": whole_hill_mod256,
    "le": le,
    "negpos": negpos,
    "np": np_,
    "patch": patch,
    "pe": pe,
    "pixel-permutation": pixel_permutation,
    "shf": shf,
}
