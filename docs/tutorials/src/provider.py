# %% [markdown]
# # Provider: train, lock, export
# For you if you train on pictures that others have sealed. Afterwards you have a run on sealed images, a locked
# model, and a file for serving. You know which of them can read a picture. Reading takes fifteen minutes, running
# one or two.
#
# **Keyed image transforms are obfuscation and access control, not encryption.** A model that works well on sealed
# images often holds what reads them.

# %% [markdown]
# ## What the owner hands out
# This part happens at the owner's ([Data owner](owner.md)). Generated pictures have stripes that lie, stand or
# slant. They are sealed twice with one key: with `hill`, and with their pixels permuted.

# %% tags=["folded"] title="The owner seals"
import numpy as np

import cipherlens as cl
from cipherlens.data.synthetic.dataset import generate


class Stripes:
    """Generated pictures with stripes in one of three directions, as torchvision's data sets give theirs."""

    classes = ("lying", "standing", "slanting")

    def __init__(self, count, seed):
        random = np.random.default_rng(seed)
        self.labels = random.integers(0, 3, count)
        angles = np.pi * np.array([1 / 2, 0, 1 / 4])[self.labels][:, None, None]
        phases = random.uniform(0, 2 * np.pi, (count, 1, 1))
        y, x = np.mgrid[:24, :24]
        waves = np.sin(2 * np.pi * (np.cos(angles) * x + np.sin(angles) * y) / 9 + phases)
        scenes = generate(range(count), size=24, seed=seed).images
        self.images = np.clip(0.75 * scenes + 32 + 32 * waves[:, None], 0, 255).astype(np.uint8)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index].transpose(1, 2, 0), int(self.labels[index])


photos = {"train": Stripes(900, seed=1), "test": Stripes(300, seed=2)}
key = cl.Key.generate()
key.save("owner.key")
schemes = {"sealed": cl.create_cipher("hill", block=4), "shuffled": cl.create_cipher("pixel-permutation")}
for folder, cipher in schemes.items():
    cl.seal(photos, folder, cipher, key)

# %% [markdown]
# ## Open it without a key

# %% tags=["stable"]
import torch

sealed = cl.SealedDataset.open("sealed")
print(sealed.spec.cipher, sealed.spec.params, sealed.splits, sealed.spec.classes)

loader = torch.utils.data.DataLoader(sealed.split("train"), batch_size=64)
images, labels = next(iter(loader))
print(tuple(images.shape), images.dtype, labels[:8].tolist())

# %% [markdown]
# A split is a map-style data set, so every loop of PyTorch works. It holds ciphertexts and labels.

# %% [markdown]
# ## Train on ciphertexts as they are
# `cl.recommend` fills in settings for this data set and this network. `cl.train` writes a run folder. An
# interrupted training continues with the same call.

# %%
config = cl.recommend(sealed, "preresnet20", epochs=5, batch_size=32)
as_is = cl.train(sealed, config, out="as-is")
print(f"test accuracy {as_is.accuracy:.0%}, chance {1 / len(sealed.spec.classes):.0%}")

# %% [markdown]
# The network sees noise in blocks. It learns from what the blocks keep.

# %% [markdown]
# ## Train with a front end
# With `adapt=True` a small network comes first. Where an attack can read the images, it starts from what the attack
# found:

# %%
config = cl.recommend(sealed, "preresnet20", adapt=True, epochs=5, batch_size=32)
reading = cl.train(sealed, config, out="reading")
print(f"starts from {config.start}, can decrypt: {config.can_decrypt}")
print(f"test accuracy {reading.accuracy:.0%}, as they are {as_is.accuracy:.0%}")

# %% [markdown]
# Stripes are easy, so both learn them. [Front ends](../front-ends.md) measures what a front end is worth on photos.
#
# `can_decrypt` is meant literally. The same attack, run on the sealed folder alone, shows what such a front end
# makes of the images. Nothing but ciphertexts went in:

# %%
split = sealed.split("train")
originals = photos["train"].images[split.index]  # for scoring only
read = cl.attack("covariance", split.read_all(), cipher=sealed.spec.create_cipher(), plain=originals)
print(f"similarity {read.ssim:.2f} (SSIM), guessing {read.guess_ssim:.2f}")

# %% tags=["folded"] title="The picture" alt="Six pictures: original, sealed to patterns, and read back"
import matplotlib.pyplot as plt

rows = {"original": originals / 255, "sealed": split.read_all(), "read": read.reconstruction}
figure, places = plt.subplots(3, 6, figsize=(6.5, 3.5))
for (title, pictures), line in zip(rows.items(), places, strict=True):
    for picture, place in zip(pictures, line, strict=False):
        low, high = np.percentile(picture, (1, 99)) if title == "sealed" else (0, 1)
        place.imshow(np.clip((picture - low) / (high - low), 0, 1).transpose(1, 2, 0))
        place.set_xticks([])
        place.set_yticks([])
    line[0].set_ylabel(title)
figure.tight_layout()
plt.show()

# %% tags=["claim"]
assert reading.config.can_decrypt and read.evaluation.beats_guessing
assert as_is.accuracy > 0.45

# %% [markdown]
# **A run with such a front end belongs to whoever may see the pictures.** Tell the owner before you train one.

# %% [markdown]
# ## Lock a plain network to a key
# Now the other way round. You train on plain pictures, and the owner wants answers on sealed ones. A locked model
# gives on permuted pixels what the plain model gives on the pictures. It needs the key, but no training.
#
# The plain pictures are sealed with `identity`, which does nothing.

# %%
_ = cl.seal(photos, "plain", cl.create_cipher("identity"), key)
config = cl.recommend(cl.SealedDataset.open("plain"), "preresnet20", epochs=5, batch_size=32)
plain = cl.train("plain", config, out="run")
print(f"test accuracy {plain.accuracy:.1%}")

# %% [markdown]
# The owner lends the key, and the run is locked:

# %%
# !cipherlens lock run/ --key owner.key --out locked/

# %% [markdown]
# With the key, on permuted pixels:

# %%
# with_key = !cipherlens test locked/ shuffled/ --key owner.key
print(*with_key, sep="\n")

# %% [markdown]
# With another key the command refuses (exit code 3). `--measure-wrong-key` measures what it would give:

# %%
cl.Key.generate().save("other.key")
# with_other = !cipherlens test locked/ shuffled/ --key other.key --measure-wrong-key
print(*with_other, sep="\n")

# %% tags=["claim"]
import re

right, wrong = (float(re.search(r"accuracy ([\d.]+)%", " ".join(lines))[1]) for lines in (with_key, with_other))
assert abs(right - 100 * plain.accuracy) < 1.5 and wrong < 50 < right, (right, wrong, plain.accuracy)

# %% [markdown]
# With the key the accuracy is that of the plain model. With another key it is near chance. The folder holds plain
# weights and the key's fingerprint, but no key. **Whoever runs the locked model can read the key out of its
# memory.**

# %% [markdown]
# ## Export
# The plain run leaves as any model does. A file of the locked run would hold the key, so it is refused:

# %%
try:
    cl.export("locked", "model.onnx", key=key)
except cl.CipherlensError as error:
    print(error)

# %% [markdown]
# With consent it is written. Its name says what it holds, and only you can read it:

# %%
import onnx

exported = cl.export("locked", "model.onnx", key=key, contains_key=True)
print(exported.path.name, oct(exported.path.stat().st_mode & 0o777), exported.secrets)
print(f"differs from the model by {exported.relative_error:.0e} of the largest logit")
for entry in onnx.load(exported.path).metadata_props:
    print(f"{entry.key}: {entry.value[:90]}")

# %% tags=["claim"]
assert "contains-key" in exported.path.name and exported.contains_key

# %% [markdown]
# ## Serve
# `cipherlens serve as-is/` answers on sealed images over the Open Inference Protocol; [the server](../service.md)
# says how.
#
# ## Go on
# - [Locked and folded models](../locked-models.md): what can be locked, and what it is worth
# - [Training in minutes on a CPU](../training.md)
# - [Researcher: own cipher, own attack](researcher.md)
