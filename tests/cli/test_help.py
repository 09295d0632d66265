"""What help says, what a slip of the pen is answered with, and what docs/command-line.md promises."""

import inspect
import re
import subprocess
import sys
import tomllib
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from cipherlens.cli.configuration import COMMAND_LINE_ONLY
from cipherlens.cli.main import COMMANDS, app

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
NAMES = [name for name in COMMANDS if app[name].default_command]


@pytest.mark.parametrize("name", NAMES)
def test_help_fits_a_terminal_and_each_option_has_a_sentence(call, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call(name, "--help")
    assert code == 0 and out.startswith(f"Usage: cipherlens {name}")
    assert max(map(len, out.splitlines())) <= 80
    assert "env var" not in out and "CIPHERLENS_" not in out and "--empty-" not in out
    for argument in app[name].assemble_argument_collection(parse_docstring=True):
        if not argument.children and argument.show:
            assert argument.parameter.help and argument.parameter.help.strip(), argument.name


def test_the_list_of_commands_says_what_each_does(call):
    _, out, _ = call("--help")
    for name in COMMANDS:
        assert re.search(rf"^. {name} +[A-Z]", out, re.MULTILINE), name


def test_a_command_imports_no_other():
    program = (
        "import sys; from cipherlens.cli.main import execute; execute(['ciphers', '--json']);"
        "print(*(name for name in sys.modules if name.startswith('cipherlens.cli.commands.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.split() == ["cipherlens.cli.commands.owner", "cipherlens.cli.commands.owner.client"]


def is_group(annotation):
    return any(is_dataclass(part) for part in (annotation, *get_args(annotation)))


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_short(name):
    command = app[name].default_command
    hints = get_type_hints(command)
    own = [name for name in inspect.signature(command).parameters if not is_group(hints[name])]
    assert len(own) <= 10
    assert len(inspect.getsource(command).splitlines()) - len((command.__doc__ or "").splitlines()) <= 60


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("trian", "a"), "train"),
        (("train", "a", "--out", "b", "--epoch", "3"), "--epochs"),
        (("encrypt", "synthetic:tiny", "b", "--key", "KEY", "--cipher", "hil"), "hill"),
        (("reproduce", "privdl-acces"), "privdl-access"),
        (("encrypt", "synthetic:objets", "b", "--key", "KEY"), "objects"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(call, tmp_path, arguments, meant):
    pytest.importorskip("torch")
    assert call("keygen", tmp_path / "k.key")[0] == 0
    code, _, err = call(*(tmp_path / "k.key" if argument == "KEY" else argument for argument in arguments))
    assert code == 2 and re.search(f'[Dd]id you mean "?{meant}', err), err


def test_the_page_shows_a_file_that_works(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL).group(1)
    (tmp_path / "cipherlens.toml").write_text(text)
    for name in tomllib.loads(text):
        _, _, err = call(name, tmp_path / "none", "--out", tmp_path / "out", *["--plain", "x"] * (name == "audit"))
        assert "unknown" not in err.lower() and "usage" not in err, err
    assert all(f"`{option}`" in PAGE for option in COMMAND_LINE_ONLY)


def test_completion_is_made(tmp_path):
    pytest.importorskip("torch")
    made = tmp_path / "cipherlens.bash"
    command = [sys.executable, "-c", "from cipherlens.cli.main import run; run()", "--install-completion"]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    options = ["--shell", "bash", "--output", str(made)]
    assert subprocess.run([*command, *options], env=environment, capture_output=True, check=False).returncode == 0
    script = f"source {made}; COMP_WORDS=(cipherlens tra); COMP_CWORD=1; _cipherlens; echo ${{COMPREPLY[@]}}"
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["train"]


@pytest.mark.parametrize("first", [("train", "--out", "OUT"), ("predict", "RUN", "--top", "3")])
def test_options_may_stand_before_several_arguments(call, tmp_path, first):
    """As in ``train --out RUN A B C``: what comes after options is not lost."""
    given = [tmp_path / word if word.isupper() else word for word in first]
    code, _, err = call(*given, tmp_path / "a", tmp_path / "b")
    assert code == 4 and "Unused" not in err, err
    assert call(*given)[0] == 2
