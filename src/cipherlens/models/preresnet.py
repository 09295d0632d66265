"""Pre-activation ResNets for 32 x 32 images."""

from torch import Tensor, nn

from cipherlens.errors import UsageError


class PreActivationBlock(nn.Module):
    """Basic block BN-ReLU-conv-BN-ReLU-conv; where the shape changes, the shortcut is a 1 x 1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        changes = stride != 1 or in_channels != out_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride)."""
        activated = self.relu1(self.bn1(x))
        # He et al. 2016b, section 4: a projection starts after the activation, an identity shortcut before it.
        carried = x if self.shortcut is None else self.shortcut(activated)
        residual: Tensor = self.conv2(self.relu2(self.bn2(self.conv1(activated))))
        return carried + residual


class PreResNet(nn.Module):
    """Pre-activation ResNet of ``depth = 6 n + 2`` layers (He et al., Identity Mappings, ECCV 2016).

    Three stages of n basic blocks with 16, 32 and 64 channels: 0.27 M parameters at depth 20, 1.73 M at 110.
    It is designed for 32 x 32 images. Any size of at least 4 x 4 works, because the last pooling is global.
    """

    def __init__(self, depth: int, num_classes: int, in_chans: int = 3) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if blocks < 1 or rest:
            raise UsageError(f"PreResNet depth must be 6 n + 2 with n >= 1, got {depth}")
        self.conv1 = nn.Conv2d(in_chans, 16, 3, 1, 1, bias=False)
        self.layer1 = _create_stage(16, 16, blocks, stride=1)
        self.layer2 = _create_stage(16, 32, blocks, stride=2)
        self.layer3 = _create_stage(32, 64, blocks, stride=2)
        self.bn = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_chans, H, W)."""
        features = self.layer3(self.layer2(self.layer1(self.conv1(images))))
        logits: Tensor = self.fc(self.flatten(self.pool(self.relu(self.bn(features)))))
        return logits


def _create_stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = PreActivationBlock(in_channels, out_channels, stride)
    return nn.Sequential(first, *(PreActivationBlock(out_channels, out_channels, 1) for _ in range(blocks - 1)))
