"""A small vision transformer for 32 x 32 images."""

from torch import nn


def create_small_vit(num_classes: int, in_chans: int, image_size: tuple[int, int]) -> nn.Module:
    """A vision transformer for small images: patches of 4 x 4, six layers of width 192."""
    from timm.models.vision_transformer import VisionTransformer

    model: nn.Module = VisionTransformer(
        img_size=image_size,
        patch_size=4,
        in_chans=in_chans,
        num_classes=num_classes,
        embed_dim=192,
        depth=6,
        num_heads=3,
    )
    return model
