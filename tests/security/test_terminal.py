"""Text that somebody else wrote cannot move the cursor, hide other text, or become a link or picture."""

import json
import re
import shutil

import pytest

from cipherlens.cli import console
from cipherlens.training.run.card import write_card
from cipherlens.training.run.record import read_record
from tests.security.test_authentication import forge
from tests.security.test_links import MADE

EVIL = "cat\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp\u2028\r\nerror: fake\x08"
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def assert_harmless(*texts):
    for text in texts:
        assert not CONTROLS.search(text), ascii(text)
        assert "\nerror: fake" not in text


@pytest.fixture
def sealed(tmp_path):
    shutil.copytree(MADE / "hill", tmp_path / "sealed")
    forge(tmp_path / "sealed", lambda content: content["plan"].update(classes=[EVIL, "dog"]))
    return tmp_path / "sealed"


@pytest.fixture
def run(tmp_path):
    shutil.copytree(MADE / "run-plain", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    picture = "![x](https://evil.example/p.png)<img src=x onerror=alert(1)>|www.evil.example"
    record["data"]["classes"] = [EVIL, picture]
    record["provenance"]["extra"] = EVIL
    (tmp_path / "run" / "config.json").write_text(json.dumps(record))
    return tmp_path / "run"


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_inspect(call, sealed, run, as_json):
    for path in (sealed, run):
        code, out, err = call("inspect", path, *as_json)
        assert code == 0, err
        assert_harmless(out, err)
        if as_json:
            json.loads(out)


def test_predict_and_errors(call, sealed, run, tmp_path):
    photo = MADE / "photos" / "test" / "cat" / "00.png"
    code, out, err = call("predict", run, photo)
    assert code == 0, err
    assert "cat\\u001b" in out
    assert_harmless(out, err)
    assert_harmless(*call("test", run, MADE / "plain")[1:])
    assert_harmless(*call("test", MADE / "run-hill", sealed)[1:])
    assert_harmless(*call("test", MADE / "run-hill", MADE / "hill", "--split", EVIL)[1:])
    forge(sealed, lambda content: content["plan"].update(key_fingerprint=EVIL))
    code, out, err = call("decrypt", sealed, tmp_path / "back", "--key", MADE / "client.key")
    assert code in (3, 4)
    assert_harmless(out, err)


def test_names_of_skipped_files(call, tmp_path):
    shutil.copytree(MADE / "photos", tmp_path / "photos")
    (tmp_path / "photos" / "train" / "cat" / "\x1b[31mred\x9b.png").write_bytes(b"no picture")
    (tmp_path / "photos" / "train" / "cat" / b"\xff\xfe.png".decode("utf-8", "surrogateescape")).write_bytes(b"no")
    command = ("encrypt", tmp_path / "photos", tmp_path / "s", "--key", MADE / "client.key", "--size", "16")
    for more in ((), ("--json",)):
        code, out, err = call(*command, "--on-error", "skip", "--keep-names", *more)
        assert code == 6, err
        assert_harmless(out, err)
    code, out, err = call("encrypt", tmp_path / "photos", tmp_path / "t", *command[3:])
    assert code == 4
    assert_harmless(out, err)


def test_progress(capsys, monkeypatch):
    monkeypatch.setattr(console, "messages", console.Console(stderr=True, force_terminal=True, highlight=False))
    with console.progress_bar("attacking") as progress:
        progress(1, 2, f"[red]{EVIL}")
    assert "\x1b]0;" not in capsys.readouterr().err


def test_the_model_card_shows_text_as_text(run, tmp_path):
    from cipherlens.training.keyed_runs.lock import read_finished

    _, history = read_finished(run, "lock")
    write_card(tmp_path / "card.md", read_record(run), history, "<b>machine</b>")
    card = (tmp_path / "card.md").read_text()
    assert_harmless(card)
    assert "<img" not in card
    assert "<b>" not in card
    assert "![x]" not in card
    assert not re.search(r"(?<!\\)\]\(", card)
    assert not re.search(r"(?<!\\)://", card)
    for line in card.splitlines():
        if line.startswith("| classes"):
            assert re.sub(r"\\\|", "", line).count("|") == 3


def test_escapes():
    from cipherlens.escaping import escape_markdown, escape_terminal

    assert escape_terminal("Bär 病院 🐻\u200d❄️") == "Bär 病院 🐻\u200d❄️"
    assert escape_terminal("a\x1b\x9b\n\u2028\u202e\ud800\x7f") == r"a\u001b\u009b\u000a\u2028\u202e\ud800\u007f"
    assert escape_markdown("test_efficientnet 0.25, (3, 16, 16)") == "test_efficientnet 0.25, (3, 16, 16)"
    assert escape_markdown("a|b *c* _d_ `e` [f](g) <h> & \\i") == (
        r"a\|b \*c\* \_d\_ \`e\` \[f\](g) &lt;h&gt; &amp; \\i"
    )


def test_json_that_is_escaped_reads_the_same():
    from cipherlens.escaping import escape_terminal

    for text in (EVIL, "\x9b\u202e\u2028", 'quote " and \\ back'):
        shown = escape_terminal(json.dumps({"a": text}, ensure_ascii=False))
        assert json.loads(shown) == {"a": text}
