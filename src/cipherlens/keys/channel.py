"""Hand a key to another process through strangers' hands: sealed to that process's X25519 key (RFC 7748).

Base mode of HPKE in spirit: an ephemeral key, HKDF-SHA256 over the shared secret and both public keys, and
ChaCha20-Poly1305. It keeps a key from whoever only stores or forwards messages. Who the receiver is it cannot say.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cipherlens.errors import KeyFailureError
from cipherlens.keys.key import Key

_LABEL = b"cipherlens/channel/1"
_PUBLIC_BYTES = 32
_NONCE = bytes(12)
"""Each message has a key of its own, so the nonce may be the same."""


class Receiver:
    """A key pair of one process, for one message. It refuses to be pickled."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")

    def open(self, sealed: bytes) -> Key:
        """The key in a message of :func:`seal_key`. Raises KeyFailureError for an altered one."""
        ephemeral, content = sealed[:_PUBLIC_BYTES], sealed[_PUBLIC_BYTES:]
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
            return Key(_cipher(shared, ephemeral, self.public).decrypt(_NONCE, content, _LABEL))
        except (InvalidTag, ValueError):
            raise KeyFailureError("the key's message was altered", hint="run the same command again") from None


def seal_key(key: Key, public: bytes) -> bytes:
    """A message (80 bytes) that only the :class:`Receiver` with this public key (32 bytes) can open."""
    ephemeral = X25519PrivateKey.generate()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise KeyFailureError("somebody asked for the key with an invalid public key") from None
    own = ephemeral.public_key().public_bytes_raw()
    return own + _cipher(shared, own, public).encrypt(_NONCE, key.to_bytes(), _LABEL)


def _cipher(shared: bytes, ephemeral: bytes, public: bytes) -> ChaCha20Poly1305:
    derived = HKDF(SHA256(), 32, salt=None, info=_LABEL + ephemeral + public).derive(shared)
    return ChaCha20Poly1305(derived)
