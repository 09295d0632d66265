"""Key files that keygen writes can be read again; hostile ones are refused by name."""

import pytest

from cipherlens.errors import KeyFailureError, UsageError
from cipherlens.keys import Key, keyfile

BREAKS = [*"\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e\n\r\x1b\ud800\x00"]


@pytest.mark.parametrize("sign", BREAKS)
@pytest.mark.parametrize("passphrase", [None, "right"])
def test_comments_with_control_characters_are_refused(tmp_path, sign, passphrase):
    with pytest.raises(UsageError, match="comment"):
        Key.generate().save(tmp_path / "k.key", passphrase, f"ward{sign}3")
    assert not (tmp_path / "k.key").exists()


def test_too_long_a_comment_is_refused(tmp_path):
    with pytest.raises(UsageError, match="comment"):
        Key.generate().save(tmp_path / "k.key", None, "x" * 17_000)
    assert not (tmp_path / "k.key").exists()


@pytest.mark.parametrize("comment", ["", " ", "Kamera »2«", "a: b", "checksum: 1", "key: x", "病院", "# no"])
@pytest.mark.parametrize("passphrase", [None, "right"])
def test_every_other_comment_is_read_again(tmp_path, comment, passphrase):
    key = Key.generate()
    key.save(tmp_path / "k.key", passphrase, comment)
    assert Key.load(tmp_path / "k.key", passphrase) == key
    assert keyfile.read_fields(tmp_path / "k.key")["comment"] == comment


def test_a_file_that_cannot_be_read_back_is_not_written(tmp_path, monkeypatch):
    """Whatever the reason: a disk that lies, a bug. Nothing may say that the key is saved."""
    monkeypatch.setattr(keyfile, "format_key", lambda *_: "cipherlens-key: 1\nchecksum: 0\n")
    with pytest.raises(KeyFailureError):
        Key.generate().save(tmp_path / "k.key")
    assert not (tmp_path / "k.key").exists()


def edit(path, change):
    """The key file with ``change`` done to its text, and the right checksum."""
    body = path.read_text().rpartition("checksum: ")[0]
    body = change(body)
    path.write_text(f"{body}checksum: {keyfile._checksum(body)}\n")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("salt", ""),
        ("salt", "AA=="),
        ("salt", "ü"),
        ("nonce", "ü"),
        ("key", "ü"),
        ("memory-kib", "1"),
        ("memory-kib", "9" * 5000),
        ("memory-kib", "²"),
        ("passes", "٣"),
        ("lanes", "0"),
    ],
)
def test_damaged_fields_are_key_failures(tmp_path, field, value):
    key = Key.generate()
    key.save(tmp_path / "k.key", "right")
    old = keyfile.read_fields(tmp_path / "k.key")[field]
    edit(tmp_path / "k.key", lambda body: body.replace(f"{field}: {old}", f"{field}: {value}"))
    with pytest.raises(KeyFailureError):
        Key.load(tmp_path / "k.key", "right")


def test_keygen_says_what_is_wrong_with_a_comment(call, tmp_path):
    code, _, err = call("keygen", tmp_path / "k.key", "--comment", "a\x85b")
    assert code == 2
    assert "\x85" not in err
    assert "one line" in err
