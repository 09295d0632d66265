"""Key files that keygen writes can be read again; hostile ones are refused by name."""

import os
import subprocess
import sys

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


@pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path, call, mode):
    path, link = tmp_path / "client.key", tmp_path / "link.key"
    key = Key.generate()
    key.save(path)
    path.chmod(mode)
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(KeyFailureError, match=f"others may read .*{mode:03o}"):
            Key.load(name)
    assert Key.load(path, allow_open=True) == key
    source = "synthetic:tiny?n=20&test=20&size=16"
    encrypt = ("encrypt", source, tmp_path / "sealed", "--key", path, "--block", "4")
    code, _, err = call(*encrypt)
    assert code == 3 and "chmod 600" in err and "(--allow-open-key)" in err and not (tmp_path / "sealed").exists()
    assert call(*encrypt, "--allow-open-key")[0] == 0
    path.chmod(0o400)
    assert Key.load(path) == key


def test_what_is_no_key_file_is_told_first(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 not text")
    path.chmod(0o644)
    with pytest.raises(KeyFailureError, match="not a cipherlens key file"):
        Key.load(path)


def test_a_passphrase_is_asked_for_at_a_terminal(tmp_path, call, monkeypatch):
    asked, answers = [], []

    def answer(prompt):
        asked.append(prompt)
        return answers.pop(0)

    monkeypatch.setattr("cipherlens.cli.options.keys.getpass", answer)
    path = tmp_path / "client.key"
    code, _, err = call("keygen", path, "--ask-passphrase")
    assert code == 2 and "no terminal" in err and not path.exists()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers[:] = ["open sesame", "open simsim"]
    assert call("keygen", path, "--ask-passphrase")[0] == 2 and not path.exists()
    answers[:] = ["open sesame", "open sesame"]
    assert call("keygen", path, "--ask-passphrase")[0] == 0
    assert Key.load(path, "open sesame").fingerprint
    source = "synthetic:tiny?n=20&test=20&size=16"
    encrypt = ("encrypt", source, tmp_path / "sealed", "--key", path, "--block", "4")
    answers[:] = ["wrong"]
    assert call(*encrypt)[0] == 3
    answers[:] = ["open sesame"]
    assert call(*encrypt)[0] == 0 and str(path) in asked[-1]
    both = ("--ask-passphrase", "--passphrase-file", tmp_path / "words")
    assert call("keygen", tmp_path / "other.key", *both)[0] == 2


def test_a_passphrase_comes_from_a_descriptor(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"open sesame\n")
    os.close(writing)
    path = tmp_path / "client.key"
    command = [sys.executable, "-c", "from cipherlens.cli.main import run; run()"]
    options = ["--passphrase-file", f"/dev/fd/{reading}"]
    subprocess.run([*command, "keygen", path, *options], check=True, pass_fds=[reading], timeout=60)
    os.close(reading)
    assert Key.load(path, "open sesame").fingerprint
