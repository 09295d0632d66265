"""Networks: small ones of this project, any timm backbone, and adaptation networks in front of them."""

from cipherlens.models.adaptation.network import AdaptationNetwork, AdaptedModel, OwnersModel
from cipherlens.models.backbones import SEGMENTATION_MODELS, create_adaptation, create_model
from cipherlens.models.preresnet import PreResNet
from cipherlens.models.weights import load_weights, read_weights

__all__ = [
    "SEGMENTATION_MODELS",
    "AdaptationNetwork",
    "AdaptedModel",
    "OwnersModel",
    "PreResNet",
    "create_adaptation",
    "create_model",
    "load_weights",
    "read_weights",
]
