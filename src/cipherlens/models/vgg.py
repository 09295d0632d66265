"""VGG-16 with batch normalisation for 32 x 32 images, as PrivDL trains it."""

from torch import Tensor, nn

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions in each stage (Simonyan and Zisserman 2015, configuration D)."""
HIDDEN = 4096
"""Width of the classifier's hidden layers, as in PrivDL's published code."""


class VGG16(nn.Module):
    """Thirteen 3 x 3 convolutions, each with batch normalisation, in five stages that halve the sides.

    Simonyan and Zisserman 2015, configuration D, with the classifier of PrivDL's published code
    (512-4096-4096-classes, dropout 0.5): 33.6 M parameters with 10 classes. It takes 32 x 32 images only, because
    the classifier follows a flattened 1 x 1 map.
    """

    def __init__(self, num_classes: int, in_chans: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_chans
        for widths in STAGES:
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Linear(channels, HIDDEN),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(HIDDEN, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_chans, 32, 32)."""
        logits: Tensor = self.classifier(self.flatten(self.features(images)))
        return logits
