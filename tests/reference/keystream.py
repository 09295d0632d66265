"""Keys and keystream again, in plain Python from the RFCs: HKDF (5869), ChaCha20 (8439)."""

import hashlib
import hmac
import struct

MASK = 0xFFFFFFFF
SALT = b"cipherlens/v1"


def hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    pseudorandom = hmac.new(SALT, secret, hashlib.sha256).digest()
    output, block = b"", b""
    counter = 1
    while len(output) < length:
        block = hmac.new(pseudorandom, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
        counter += 1
    return output[:length]


def subkey(secret: bytes, label: str) -> bytes:
    return hkdf(secret, b"subkey:" + label.encode(), 32)


def fingerprint(secret: bytes) -> str:
    return hkdf(secret, b"fingerprint", 16).hex()


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & MASK


def _quarter(state: list[int], a: int, b: int, c: int, d: int) -> None:
    for first, second, third, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[first] = (state[first] + state[second]) & MASK
        state[third] = _rotate(state[third] ^ state[first], bits)


def chacha20_block(key: bytes, counter: int) -> bytes:
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key)]
    start += [counter & MASK, counter >> 32, 0, 0]
    state = list(start)
    for _ in range(10):
        for column in range(4):
            _quarter(state, column, column + 4, column + 8, column + 12)
        for column in range(4):
            _quarter(state, column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return struct.pack("<16I", *((a + b) & MASK for a, b in zip(state, start, strict=True)))


class Stream:
    def __init__(self, secret: bytes, label: str) -> None:
        self.key = subkey(secret, label)
        self.counter = 0
        self.buffer = b""

    def bytes(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.buffer += chacha20_block(self.key, self.counter)
            self.counter += 1
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def word(self) -> int:
        return int.from_bytes(self.bytes(8), "little")

    def integers(self, high: int, count: int) -> list[int]:
        limit = 2**64 - 2**64 % high
        drawn: list[int] = []
        while len(drawn) < count:
            word = self.word()
            if word < limit:
                drawn.append(word % high)
        return drawn

    def permutation(self, count: int) -> list[int]:
        while True:
            words = [self.word() for _ in range(count)]
            if len(set(words)) == count:
                return sorted(range(count), key=words.__getitem__)

    def permutations(self, rows: int, count: int) -> list[list[int]]:
        while True:
            table = [[self.word() for _ in range(count)] for _ in range(rows)]
            if all(len(set(words)) == count for words in table):
                return [sorted(range(count), key=words.__getitem__) for words in table]

    def bits(self, count: int) -> list[int]:
        drawn = [byte >> place & 1 for byte in self.bytes((count + 7) // 8) for place in range(8)]
        return drawn[:count]

    def uniforms(self, count: int) -> list[float]:
        return [(self.word() >> 11) / 2**53 for _ in range(count)]

    def uniform_matrix(self, size: int) -> list[list[float]]:
        return [[2 * u - 1 for u in self.uniforms(size)] for _ in range(size)]

    def byte_matrix(self, size: int) -> list[list[int]]:
        return [list(self.bytes(size)) for _ in range(size)]

    def normals(self, count: int) -> list[float]:
        return [sum(self.uniforms(12)) - 6 for _ in range(count)]
