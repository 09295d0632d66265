"""The attacks of this package that need nothing but images, in the order in which reports name them."""

from cipherlens.attacks.base import Attack
from cipherlens.attacks.covariance.attack import CovarianceAttack
from cipherlens.attacks.jigsaw.attack import JigsawAttack
from cipherlens.attacks.learned.attacks import LabelledAttack, PairsAttack, SimulatedKeysAttack, UnpairedAttack
from cipherlens.attacks.plaintext.chosen import ChosenPlaintextAttack
from cipherlens.attacks.plaintext.known import KnownPlaintextAttack
from cipherlens.attacks.positions.pixel_correlation import CorrelationAttack
from cipherlens.attacks.positions.value_correlation import ValueCorrelationAttack
from cipherlens.attacks.registry import register_attack
from cipherlens.attacks.values.signs import NeighboursAttack
from cipherlens.attacks.values.single_image import DifferencesAttack, FeaturesAttack
from cipherlens.attacks.values.substitution import LevelsAttack

BUILT_IN: tuple[type[Attack], ...] = (
    *(CovarianceAttack, CorrelationAttack, ValueCorrelationAttack, LevelsAttack, NeighboursAttack),
    *(FeaturesAttack, DifferencesAttack, JigsawAttack, KnownPlaintextAttack, ChosenPlaintextAttack),
    *(SimulatedKeysAttack, PairsAttack, UnpairedAttack, LabelledAttack),
)
for attack in BUILT_IN:
    register_attack(attack)
