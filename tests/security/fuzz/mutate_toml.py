"""Configuration files that are almost right."""

from random import Random

TOML_VALUES = (
    *("1", "-1", "0", "true", "1e400", "nan", "inf", "9999999999999999999999", '""', '"x"', '"identity"'),
    *('"stream"', '"hill"'),
    *('"\\u001b[2J"', '"\\u009b"', '"\\u0000"', '"../x"', '"/etc/passwd"', "[]", "{}", "[[1]]", '["train"]'),
    *('["a", 1]',),
    *("1979-05-27T07:32:00Z", "07:32:00", "{ a = 1 }", "'''x\ny'''", "[" * 5000 + "]" * 5000, "9" * 5000),
    *('"' + "y" * 9000 + '"',),
    *('"hill+hill"', '"pixel-permutation"', '"composed"', '"--cipher"', '"etc --grey"', "0x10", "1_6", "="),
    *('"open', "[", "16"),
)
TOML_KEYS = (
    *("cipher", "block", "orthogonal", "grey", "size", "pad", "limit", "split", "classes", "on_error", "on-error"),
    *("json",),
    *("as_json", "as-json", "dry_run", "dry-run", "source", "destination", "key", "augment", "unknown"),
    *('"\\u001b"', '""', "a.b"),
)
TOML_TABLES = (
    "encrypt",
    "encrypt",
    "encrypt",
    "ciphers",
    "inspect",
    '"encrypt"',
    "encrypt.cipher",
    "[encrypt]",
    '"\\u001b"',
    "x",
)


def make_toml(rng: Random) -> str:
    """A configuration of a few tables and values, valid or not."""
    lines = [f"{rng.choice(TOML_KEYS)} = {rng.choice(TOML_VALUES)}" for _ in range(rng.choice((0, 0, 0, 1)))]
    for _ in range(rng.choice((1, 1, 2))):
        lines.append(f"[{rng.choice(TOML_TABLES)}]")
        lines += [f"{rng.choice(TOML_KEYS)} = {rng.choice(TOML_VALUES)}" for _ in range(rng.choice((1, 1, 2, 4)))]
    return "\n".join(lines) + "\n"
