"""The critic of learned decryptors without pairs: it distinguishes natural from generated images."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Module):
    """Maps images (N, C, H, W) to scores of patches (N, 1, H / 8, W / 8), large for natural ones.

    Spectral normalisation (Miyato et al. 2018) keeps it smooth. With labels it also judges whether images look like
    their class (projection: Miyato and Koyama 2018); ``classes`` is 0 without labels.
    """

    def __init__(self, channels: int, classes: int = 0) -> None:
        super().__init__()
        widths = (channels, 32, 64, 128)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers)
        self.verdict = spectral_norm(nn.Conv2d(widths[-1], 1, 1))
        self.prototypes = spectral_norm(nn.Embedding(classes, widths[-1])) if classes else None

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Scores of the patches; ``labels`` (N,) int64 are ignored where there are no classes."""
        features: Tensor = self.features(images)
        verdict: Tensor = self.verdict(features)
        if self.prototypes is None:
            return verdict
        fitting: Tensor = (features.mean(dim=(2, 3)) * self.prototypes(labels)).sum(dim=1)
        return verdict + fitting[:, None, None, None]
