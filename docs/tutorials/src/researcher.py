# %% [markdown]
# # Researcher: own cipher, own attack, leaderboard
# For you if you have a scheme, or an idea how to break one. Afterwards you have a cipher that keeps the library's
# rules, an attack with its controls, and a table of similarity by budget.
#
# **Keyed image transforms are obfuscation and access control, not encryption.** The cipher of this page has an
# enormous key space. It falls to thirty lines.

# %% [markdown]
# ## A cipher
# Add a secret number to every value, modulo 256. The numbers come from the key and are the same for all images.
# This is the one-time pad, used many times. It is a mistake that people make.
#
# `_bind` does all key work once. The bound cipher's `_encrypt` and `_decrypt` are pure functions on batches (N, C,
# H, W), of NumPy or torch.

# %%
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

import cipherlens as cl
from cipherlens.ciphers import BoundCipher, Cipher
from cipherlens.keys import KeyStream


@cl.register_cipher
@dataclass(frozen=True)
class OffsetCipher(Cipher):
    name: ClassVar[str] = "offset"
    summary: ClassVar[str] = "a secret number added to every value, modulo 256"
    threat_note: ClassVar[str] = "obfuscation, not encryption: neighbouring values differ little in all images"

    def key_bits(self, shape):
        return 8.0 * prod(shape)

    def _bind(self, key, shape):
        return BoundOffset(self, key, shape)


class BoundOffset(BoundCipher):
    def __init__(self, cipher, key, shape):
        super().__init__(cipher, key, shape)
        self.offsets = KeyStream(key, f"offset:{shape}").integers(256, prod(shape)).astype(np.uint8).reshape(shape)

    def _encrypt(self, xp, plain):
        return plain + self._table(xp, plain, "offsets", self.offsets)

    def _decrypt(self, xp, ct):
        return ct - self._table(xp, ct, "offsets", self.offsets)


# %% [markdown]
# The decorator registers it. From now on it has a name, like those of the library:

# %% tags=["stable"]
cipher = cl.create_cipher("offset")
shape = (3, 32, 32)
print("offset" in cl.list_ciphers(), f"{cipher.key_bits(shape):,.0f} bits of key space")

# %% [markdown]
# `check_cipher` holds it to the rules: round trips, determinism, shapes, independence of images, wrong keys,
# secrecy of the key, the same from torch. It says nothing when all is well.

# %% tags=["stable"]
from cipherlens import testing

testing.check_cipher(cipher)

# %% [markdown]
# ## Images under a key
# Generated pictures with the statistics of natural ones. Replace them with yours.

# %%
from cipherlens.data.synthetic.dataset import generate

plain = generate(range(320), size=32, seed=1).images
ciphertexts = cipher.bind(cl.Key.generate(), shape).encrypt(plain)

# %% [markdown]
# ## What the library makes of it
# The cipher has declared no structure. So attacks that need to know it are refused:

# %% tags=["stable"]
try:
    cl.attack("known-plaintext", ciphertexts, cipher=cipher, plain=plain)
except cl.CipherlensError as error:
    print(error)

# %% [markdown]
# The attacks that apply are networks, which train for minutes. You know your scheme better.

# %% [markdown]
# ## An attack
# Neighbouring values are nearly equal in natural images. So the difference of two neighbouring ciphertext values
# is, in the middle over images, the difference of their offsets.
#
# The values live on a circle, and so does their median. Differences are summed up along the first column and then
# along the rows.
#
# One number for each channel stays open. A wrong one wraps bright values to dark, which makes jumps. The number
# with the fewest jumps is taken. Single values that wrapped all the same are told from their surroundings. Whole
# areas that wrapped are not.

# %%
from scipy.ndimage import median_filter

from cipherlens.attacks import Attack, Requirements
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY


def center(differences):
    """Circular median over images, of values modulo 256."""
    mean = np.angle(np.exp(2j * np.pi * differences / 256).mean(axis=0)) * 128 / np.pi
    return np.rint(mean + np.median((differences - mean + 128) % 256 - 128, axis=0))


@cl.register_attack
class OffsetSumAttack(Attack):
    """Sums up median differences of neighbours. If it finds nothing, there were too few images."""

    name = "offset-sum"
    threat_model = CIPHERTEXT_ONLY
    summary = "sums up the median differences of neighbouring values"
    requirements = Requirements(min_images=1)

    @classmethod
    def supports(cls, cipher, plain_shape, sealed_shape):
        return isinstance(cipher, OffsetCipher)

    def run(self, view):
        values = 255 * view.ciphertexts
        offsets = np.zeros(values.shape[1:])
        offsets[:, 1:, 0] = np.cumsum(center(np.diff(values[..., 0], axis=2)), axis=1)
        offsets[:, :, 1:] = offsets[:, :, :1] + np.cumsum(center(np.diff(values, axis=3)), axis=2)
        found = values - offsets
        for channel in range(found.shape[1]):
            found[:, channel] = (found[:, channel] - least_jumps(found[:50, channel])) % 256
        around = median_filter(found, (1, 1, 5, 5))
        found += 256 * np.rint((around - found) / 256)  # black that became white, and white that became black
        return (found / 255).clip(0, 1).astype(np.float32), {}


def least_jumps(values):
    """The constant that, taken off modulo 256, leaves the smallest differences between neighbours."""
    jumps = [np.abs(np.diff((values - shift) % 256, axis=2)).sum() for shift in range(256)]
    return int(np.argmin(jumps))


# %%
attack = cl.attack("offset-sum", ciphertexts, cipher=cipher, plain=plain)
print(f"offset-sum with {attack.ciphertexts} ciphertexts: SSIM {attack.ssim:.2f}, guessing {attack.guess_ssim:.2f}")

# %% tags=["folded"] title="The picture" alt="Five pictures: original, encrypted to noise, and read back"
import matplotlib.pyplot as plt

rows = {"original": plain / 255, "encrypted": ciphertexts / 255, "read": attack.reconstruction}
figure, places = plt.subplots(3, 5, figsize=(6.5, 4))
for (title, pictures), line in zip(rows.items(), places, strict=True):
    for picture, place in zip(pictures, line, strict=False):
        place.imshow(picture.transpose(1, 2, 0))
        place.set_xticks([])
        place.set_yticks([])
    line[0].set_ylabel(title)
figure.tight_layout()
plt.show()

# %% tags=["claim"]
assert attack.ssim > 0.8 and attack.evaluation.beats_guessing

# %% [markdown]
# ## Both controls
# A score alone proves little. **Identity**: given plain images as ciphertexts, the attack must be nearly perfect.
# **Stream**: on authenticated encryption it must not beat guessing.

# %%
identity = cl.attack("offset-sum", plain, cipher=cipher, plain=plain)
stream = cl.create_cipher("stream").bind(cl.Key.generate(), shape).encrypt(plain)[:, :, :32]
nothing = cl.attack("offset-sum", stream, cipher=cipher, plain=plain)
print(f"identity: SSIM {identity.ssim:.2f}")
print(f"stream:   SSIM {nothing.ssim:.2f}, guessing {nothing.guess_ssim:.2f}")

# %% tags=["claim"]
assert identity.ssim >= 0.9 and not nothing.evaluation.beats_guessing

# %% [markdown]
# Stream ciphertexts are taller than their images, because they carry a nonce and a tag. These rows are cut off.
#
# `check_attack` runs both controls, and more: the same result again, no change to what it was given, honest
# failure.

# %% tags=["stable"]
testing.check_attack(OffsetSumAttack(), cipher)

# %% [markdown]
# ## A table
# How many ciphertexts does it take? A small leaderboard: your scheme beside one of the library's, each with the
# attack that reads it.

# %%
opponents = {"offset": "offset-sum", "pixel-permutation": "correlation"}
budgets = (1, 10, 100, 300)
table = {}
for name, against in opponents.items():
    scheme = cl.create_cipher(name)
    ct = scheme.bind(cl.Key.generate(), shape).encrypt(plain)
    for budget in budgets:
        try:
            found = cl.attack(against, ct, cipher=scheme, plain=plain, budget=budget)
        except cl.CipherlensError:
            continue  # it needs more images
        table[name, budget] = found.ssim
print(f"{'scheme':18} {'attack':12}", *(f"{budget:>5}" for budget in budgets))
for name, against in opponents.items():
    row = (f"{table[name, budget]:5.2f}" if (name, budget) in table else "    -" for budget in budgets)
    print(f"{name:18} {against:12}", *row)
print(f"guessing: {attack.guess_ssim:.2f}")

# %% tags=["folded"] title="The plot" alt="SSIM by number of ciphertexts; both rise above guessing"
figure, axes = plt.subplots(figsize=(6.5, 3.4))
for name, colour, mark in zip(opponents, ("#0072b2", "#d55e00"), "os", strict=True):
    points = [(budget, table[name, budget]) for budget in budgets if (name, budget) in table]
    axes.plot(*zip(*points, strict=True), color=colour, marker=mark)
    axes.annotate(name, points[-1], xytext=(8, -3), textcoords="offset points", color=colour)
axes.axhline(attack.guess_ssim, color="0.4", linestyle="--")
axes.annotate("guessing", (1, attack.guess_ssim), xytext=(0, 4), textcoords="offset points", color="0.3")
axes.set(xscale="log", xlabel="ciphertexts", ylabel="SSIM", ylim=(0, 1.05), xlim=(0.9, 2500))
axes.set_xticks(budgets, [str(budget) for budget in budgets])
axes.spines[["top", "right"]].set_visible(False)
figure.tight_layout()
plt.show()

# %% tags=["claim"]
assert table["offset", 300] > 0.8 > table["offset", 1]

# %% [markdown]
# A key space of thousands of bits did not help. What counts is how often one secret is used, and what the images
# keep.

# %% [markdown]
# ## For others
# Put both classes into a package with entry points. Then commands, audits and their worker processes find them.
# [examples/own-scheme](../../examples/own-scheme/README.md) is such a package.
#
# ```
# pip install ./examples/own-scheme
# cipherlens audit sealed/ --plain photos/ --out report/
# cipherlens reproduce leakage --scale smoke
# ```
#
# The last command is [the leaderboard](../leaderboard.md) at its smallest scale, on generated images.
#
# ## Go on
# - [A new cipher, a new attack](../architecture.md#a-new-cipher-a-new-attack): `structure`, and how attacks use it
# - [Attacks](../attacks.md): threat models, scores, controls
# - [The Python reference](../reference/api.md)
