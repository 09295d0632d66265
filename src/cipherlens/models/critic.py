"""The critic of learned decryptors that have no pairs: it tells natural images from made ones."""

from itertools import pairwise

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Sequential):
    """Patches of images (N, C, H, W) -> (N, 1, H / 8, W / 8): large for natural ones.

    Spectral normalisation (Miyato et al. 2018) keeps it smooth.
    """

    def __init__(self, channels: int) -> None:
        widths = (channels, 32, 64, 128)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2)]
        super().__init__(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 1)))
