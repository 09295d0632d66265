"""Row alignment: rows that were neighbours look alike, once they are rotated against each other."""

import numpy as np

from cipherlens.attacks import Attack, Requirements, View, register_attack
from cipherlens.attacks.base import Found
from cipherlens.ciphers import Cipher
from cipherlens.ciphers.structure import Kind, Scope, Shape
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY


@register_attack
class RowAlignmentAttack(Attack):
    """Rotate each row until it fits the row above, then all rows until the seam lies at the border.

    If it finds nothing, there were too few pictures, or rows too alike. It does not mean that the scheme holds.
    """

    name = "row-alignment"
    threat_model = CIPHERTEXT_ONLY
    summary = "rotates every row of the encrypted images until it fits the row above"
    requirements = Requirements(min_images=5)

    @classmethod
    def supports(cls, cipher: Cipher | None, plain_shape: Shape, sealed_shape: Shape) -> bool:
        """Schemes that move pixels within their rows, or plain images."""
        if cipher is None:
            return False
        structure = cipher.structure(plain_shape)
        rows = structure.layout is not None and structure.layout.places.shape == plain_shape
        return structure.kind is Kind.NOTHING or (structure.scope is Scope.CHANNELS and rows)

    def run(self, view: View) -> Found:
        """Pictures (N, C, H, W), and the shift of every row."""
        rows = view.ciphertexts.transpose(2, 3, 0, 1).reshape(*view.ciphertexts.shape[2:], -1)
        spectra = np.fft.rfft(rows - rows.mean(axis=1, keepdims=True), axis=1)
        width = rows.shape[1]
        products = (spectra[:-1].conj() * spectra[1:]).sum(axis=2)
        steps = np.fft.irfft(products, width, axis=1).argmax(axis=1)
        shifts = np.concatenate([[0], np.cumsum(steps)]) % width
        columns = (np.arange(width) + shifts[:, None]) % width
        found = np.take_along_axis(view.ciphertexts, np.broadcast_to(columns, view.ciphertexts.shape), axis=3)
        seams = np.abs(found - np.roll(found, 1, axis=3)).mean(axis=(0, 1, 2))
        seam = int(seams.argmax())  # nothing but the border makes columns differ so much
        return np.roll(found, -seam, axis=3), {"shifts": ((shifts + seam) % width).tolist()}
