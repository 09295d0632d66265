"""A key in a message: for one receiver only, altered nowhere, and never in clear."""

import pickle

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cipherlens.errors import KeyFailureError
from cipherlens.keys.channel import Receiver, seal_key
from cipherlens.keys.key import Key


def test_only_the_receiver_opens_it(key: Key) -> None:
    receiver, another = Receiver(), Receiver()
    message = seal_key(key, receiver.public)
    assert len(message) == 80 and receiver.open(message) == key
    assert key.to_bytes() not in message
    assert seal_key(key, receiver.public) != message
    with pytest.raises(KeyFailureError):
        another.open(message)


def test_every_altered_bit_is_noticed(key: Key) -> None:
    receiver = Receiver()
    message = seal_key(key, receiver.public)
    for place in range(len(message)):
        altered = bytearray(message)
        altered[place] ^= 1
        with pytest.raises(KeyFailureError):
            receiver.open(bytes(altered))
    for cut in (0, 31, 32, 79):
        with pytest.raises(KeyFailureError):
            receiver.open(message[:cut])


def test_public_keys_of_no_one(key: Key) -> None:
    """Of small order, for which the shared secret is known, or of another length."""
    for public in (bytes(32), b"\x01" + bytes(31), bytes(31)):
        with pytest.raises(KeyFailureError):
            seal_key(key, public)


def test_message_by_hand(key: Key) -> None:
    """The message as its definition says, put together here."""
    private, ephemeral = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    receiver = Receiver()
    receiver._private = private
    receiver.public = private.public_key().public_bytes_raw()
    own = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(receiver.public))
    label = b"cipherlens/channel/1"
    derived = HKDF(hashes.SHA256(), 32, None, label + own + receiver.public).derive(shared)
    assert receiver.open(own + ChaCha20Poly1305(derived).encrypt(bytes(12), key.to_bytes(), label)) == key


def test_no_pickle() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Receiver())
