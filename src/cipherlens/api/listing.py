"""``cl.list_attacks``: what applies to a cipher."""

from cipherlens.attacks import registry
from cipherlens.ciphers import Cipher
from cipherlens.ciphers.structure import Shape

_BLOCKS = 16
"""Side, in blocks, of the images that attacks are listed for where nobody names a shape. Chosen by hand."""


def list_attacks(cipher: Cipher | None = None, shape: Shape | None = None) -> list[str]:
    """Names of all attacks, those of installed packages too; or of those that say something about a ``cipher``.

    ``shape`` (C, H, W) is that of the images. For a cipher of this package its own attacks are named, for others
    those of all installed packages. Attacks that hold a model are not named: they need one.
    """
    if cipher is None:
        return registry.list_names()
    side = _BLOCKS * cipher.block
    plain = shape or (3, side, side)
    return [attack.name for attack in registry.list_attacks(cipher, plain, cipher.ct_shape(plain), slow=True)]
