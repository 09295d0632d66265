"""The command line as a person or a script meets it: outputs, messages, exit codes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.keys import Key


@pytest.fixture
def keyfile(tmp_path, key):
    key.save(tmp_path / "client.key")
    return str(tmp_path / "client.key")


@pytest.fixture
def sealed(call, folder, tmp_path, keyfile):
    code, _, err = call("encrypt", folder, tmp_path / "sealed", "--key", keyfile)
    assert code == 0, err
    return tmp_path / "sealed"


def test_keygen_and_inspect(call, tmp_path):
    (tmp_path / "pass").write_text("tr0ub4dor\nsecond line is ignored\n")
    path = tmp_path / "a.key"
    code, out, _ = call("keygen", path, "--passphrase-file", tmp_path / "pass", "--comment", "ward 3", "--json")
    made = json.loads(out)
    assert (code, made["protected"]) == (0, True)
    assert Key.load(path, "tr0ub4dor").fingerprint == made["fingerprint"]
    code, out, _ = call("inspect", path, "--json")
    facts = json.loads(out)
    assert (code, facts["kind"], facts["comment"]) == (0, "key file", "ward 3")
    assert facts["fingerprint"] == made["fingerprint"]
    assert "key" not in facts
    assert call("keygen", path)[0] == 2


def test_encrypt_decrypt_inspect(call, folder, tmp_path, keyfile, sealed):
    code, out, _ = call("inspect", sealed, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["cipher"] == "hill"
    assert facts["images"] == {"train": 12, "test": 6}
    code, out, _ = call("decrypt", sealed, tmp_path / "back", "--key", keyfile, "--json")
    assert (code, json.loads(out)["images"]) == (0, 18)
    original = np.asarray(Image.open(folder / "train" / "cat" / "00.png"))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "back" / "train" / "cat" / "000000.png")), original)


def test_encrypt_warns_what_it_is_not(call, folder, tmp_path, keyfile):
    code, out, err = call("encrypt", folder, tmp_path / "s", "--key", keyfile, "--json")
    assert code == 0
    assert "obfuscation, not encryption" in err
    assert json.loads(out)["images"] == 18


def test_dry_run_writes_nothing(call, folder, tmp_path, keyfile):
    code, out, _ = call("encrypt", folder, tmp_path / "s", "--key", keyfile, "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)["counts"] == {"test": 6, "train": 12}
    assert not (tmp_path / "s").exists()


def test_exit_2_usage(call, folder, tmp_path, keyfile, sealed):
    cases = [
        ["encrypt"],
        ["encrypt", folder, tmp_path / "x", "--key", keyfile, "--cypher", "hill"],
        ["encrypt", folder, tmp_path / "x", "--key", keyfile, "--cipher", "rot13"],
        ["encrypt", folder, tmp_path / "x", "--key", keyfile, "--cipher", "identity", "--block", "4"],
        ["encrypt", folder, tmp_path, "--key", keyfile],
        ["attack", "telepathy", sealed, "--plain", folder],
        ["attack", "covariance", sealed],
        ["audit", sealed, "--plain", folder, "--out", tmp_path / "r", "--fail-above", "ssim"],
        ["audit", sealed, "--plain", folder, "--out", tmp_path / "r", "--fail-above", "beauty=1"],
        ["nonsense"],
    ]
    for arguments in cases:
        code, out, err = call(*arguments)
        assert (code, out) == (2, ""), arguments
        assert "hint" in err, arguments
    assert not (tmp_path / "x").exists()


def test_exit_3_key_or_authentication(call, folder, tmp_path, keyfile, sealed):
    Key(bytes(32)).save(tmp_path / "other.key")
    Key(bytes(32)).save(tmp_path / "locked.key", "right")
    (tmp_path / "wrong").write_text("wrong")
    (tmp_path / "empty").write_text("")
    damaged = tmp_path / "damaged.key"
    damaged.write_text((tmp_path / "client.key").read_text().replace("created: 2", "created: 3"))
    back = tmp_path / "back"
    cases = {
        "wrong key": ["decrypt", sealed, back, "--key", tmp_path / "other.key"],
        "protected by a passphrase": ["decrypt", sealed, back, "--key", tmp_path / "locked.key"],
        "wrong passphrase": [
            *("decrypt", sealed, back, "--key", tmp_path / "locked.key"),
            *("--passphrase-file", tmp_path / "wrong"),
        ],
        "empty": ["keygen", tmp_path / "new.key", "--passphrase-file", tmp_path / "empty"],
        "checksum": ["decrypt", sealed, back, "--key", damaged],
        "cannot read": ["decrypt", sealed, back, "--key", tmp_path / "none.key"],
    }
    for words, arguments in cases.items():
        code, out, err = call(*arguments)
        assert (code, out) == (3, ""), arguments
        assert words in err
    assert not back.exists()
    assert not (tmp_path / "new.key").exists()


def test_exit_4_bad_data(call, folder, tmp_path, keyfile, sealed):
    def flip(data):
        return data[:-9] + bytes([data[-9] ^ 4]) + data[-8:]

    shard = sealed / "shards" / "train-00000.safetensors"
    good = shard.read_bytes()
    back = tmp_path / "back"
    for words, damaged in (("damaged", flip(good)), ("bytes instead of", good[:-100])):
        shard.write_bytes(damaged)
        for arguments in (["decrypt", sealed, back, "--key", keyfile], ["inspect", sealed]):
            code, _, err = call(*arguments)
            assert code == 4
            assert words in err
            assert "train-00000" in err
    assert not back.exists()
    (folder / "train" / "cat" / "note.jpg").write_text("not a picture")
    code, _, err = call("encrypt", folder, tmp_path / "s", "--key", keyfile)
    assert code == 4
    assert "note.jpg is not an image" in err
    assert "--on-error" in err
    (folder / "train" / "cat" / "note.jpg").unlink()
    Image.new("RGB", (17, 16)).save(folder / "train" / "cat" / "wide.png")
    code, _, err = call("encrypt", folder, tmp_path / "s2", "--key", keyfile)
    assert code == 4
    assert "wide.png is 16x17, the data set is 16x16" in err
    code, _, err = call("encrypt", folder, tmp_path / "s3", "--key", keyfile, "--size", "30")
    assert code == 4
    assert "28x28 or 32x32" in err
    code, _, err = call("inspect", folder)
    assert code == 4


def test_exit_6_partial(call, folder, tmp_path, keyfile):
    (folder / "train" / "cat" / "note.jpg").write_text("not a picture")
    code, out, err = call("encrypt", folder, tmp_path / "s", "--key", keyfile, "--on-error", "skip", "--json")
    assert code == 6
    assert json.loads(out)["skipped_images"] == 1
    assert "note.jpg" in err
    assert SealedDataset.open(tmp_path / "s").splits == {"test": 6, "train": 12}


def test_chosen_plaintext_attack_needs_the_key(call, folder, sealed, keyfile):
    command = ("attack", "chosen-plaintext", sealed, "--plain", folder, "--json")
    assert call(*command)[0] == 2
    code, out, err = call(*command, "--key", keyfile)
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["threat_model"], facts["budget_unit"]) == ("cpa", "oracle queries")
    assert facts["details"]["queries"] >= 1
    assert facts["exact_pixels"] > 0.99


def test_known_plaintext_attack_from_the_command_line(call, folder, sealed):
    code, out, err = call("attack", "hill-known-plaintext", sealed, "--plain", folder, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert {"attack", "threat_model", "budget", "n", "ssim", "psnr", "seconds"} <= set(result)
    assert result["threat_model"] == "kpa"
    assert result["n"] == 5


def test_configuration_file_and_environment(call, folder, tmp_path, keyfile, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cipherlens.toml").write_text("[encrypt]\nsize = 8\n")
    code, out, _ = call("encrypt", folder, "s", "--key", keyfile, "--dry-run", "--json")
    assert (code, json.loads(out)["size"]) == (0, 8)
    monkeypatch.setenv("CIPHERLENS_ENCRYPT_SIZE", "12")
    code, out, _ = call("encrypt", folder, "s", "--key", keyfile, "--dry-run", "--json")
    assert json.loads(out)["size"] == 12
    code, out, _ = call("encrypt", folder, "s", "--key", keyfile, "--size", "4", "--dry-run", "--json")
    assert json.loads(out)["size"] == 4
    (tmp_path / "cipherlens.toml").write_text("[encrypt]\nblok = 8\n")
    code, _, err = call("encrypt", folder, "s", "--key", keyfile, "--dry-run")
    assert code == 2
    assert "blok" in err


def test_import_is_light():
    """A client has no torch; and nobody waits for it before it is used."""
    script = (
        "import sys, time; start = time.perf_counter()\n"
        "import cipherlens, cipherlens.ciphers, cipherlens.keys\n"
        "print(time.perf_counter() - start)\n"
        "import cipherlens.cli.main, cipherlens.data.sealed.seal, cipherlens.attacks\n"
        "heavy = {'torch', 'timm', 'torchvision', 'scipy', 'matplotlib', 'torchmetrics'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_package_documentation_runs():
    import doctest

    import cipherlens

    assert doctest.testmod(cipherlens).attempted == 5
    assert doctest.testmod(cipherlens).failed == 0
    assert len(cipherlens.__all__) <= 30  # each is a promise
    for name in cipherlens.__all__:
        assert getattr(cipherlens, name) is not None


def test_an_interrupt_says_how_to_go_on(call, tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(Key, "generate", interrupt)
    code, _, err = call("keygen", tmp_path / "k")
    assert code == 130
    assert "run the same command again to continue" in err
