"""Entry point: collects the commands, turns errors into messages and exit codes."""

import os
import sys

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.config import Env

import cipherlens
from cipherlens.cli.configuration import FILE_NAME, FolderConfiguration
from cipherlens.cli.console import describe_disk, messages, say, say_error, show_notes
from cipherlens.cli.inputs import STDIN
from cipherlens.cli.options.types import refuse_url
from cipherlens.errors import CipherlensError, UsageError
from cipherlens.memory import disable_malloc_trim

app = App(
    name="cipherlens",
    help="Train vision models on keyed, unreadable images, and measure what such images still give away.",
    version=cipherlens.__version__,
    # A flag beats the environment (CIPHERLENS_TRAIN_EPOCHS=3), which beats ./cipherlens.toml ([train] epochs = 3).
    config=(Env("CIPHERLENS_"), FolderConfiguration(FILE_NAME)),
    help_format="markdown",
    # The names of environment variables follow a rule (docs/command-line.md), so help does not repeat them.
    default_parameter=Parameter(show_env_var=False, negative_iterable=(), validator=refuse_url),
    group_parameters=Group("Options", sort_key=0),
    suppress_keyboard_interrupt=False,  # we say how to go on
)
COMMANDS = {
    "keygen": "owner.client:keygen",
    "encrypt": "owner.client:encrypt",
    "decrypt": "owner.client:decrypt",
    "inspect": "owner.inspect:inspect",
    "ciphers": "owner.client:ciphers",
    "classes": "study.classes:classes",
    "train": "provider.train:train",
    "test": "provider.test:test",
    "adapt": "provider.adapt:adapt",
    "predict": "provider.predict:predict",
    "lock": "provider.lock:lock",
    "fold": "provider.lock:fold",
    "invert": "provider.lock:invert",
    "export": "provider.export:export",
    "export-data": "provider.export:export_data",
    "attack": "study.attack:attack",
    "attacks": "study.attack:attacks",
    "audit": "owner.audit:audit",
    "serve": "provider.serve:serve",
    "query": "owner.query:query",
    "desk": "owner.desk:desk",
    "reproduce": "study.reproduce:reproduce",
    "demo": "study.demo:demo",
    "key": "owner.key:app",
    "token": "provider.serve:token",
}
"""Name of each command, and where it is. Only the command that is asked for is imported: it starts sooner."""
for name, place in COMMANDS.items():
    app.command(f"cipherlens.cli.commands.{place}", name=name)
app.register_install_completion_command()


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its documented code."""
    disable_malloc_trim()
    sys.exit(execute(sys.argv[1:] if arguments is None else arguments))


def execute(arguments: list[str]) -> int:
    """Run one command and return its exit code; messages go to stderr."""
    if not arguments or arguments[0].startswith("-"):
        load_all()
    try:
        named = [
            STDIN if argument == "-" and arguments[0] in ("predict", "query") else argument
            for argument in arguments
        ]
        with show_notes(_list_options(arguments)):
            app(named, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        say(*f"usage: {error}".split("\n"), f"  hint: cipherlens {' '.join(arguments[:1])} --help")
        return UsageError.exit_code
    except BrokenPipeError:
        # Whoever read our output has enough; point stdout elsewhere so that the exit does not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        say("interrupted; run the same command again to continue")
        return 130
    except Exception as error:
        return _explain(error, _list_options(arguments))
    return 0


def load_all() -> None:
    """Import all commands: the list of commands, and shell completion, have the first line of each."""
    for name in COMMANDS:
        app[name]


def _explain(error: Exception, known: set[str]) -> int:
    """Say what went wrong, in a command with the options ``known``; returns the exit code."""
    expected = describe_disk(error) or error
    if isinstance(expected, CipherlensError):
        say_error("error", expected, known)
        return expected.exit_code
    if os.environ.get("CIPHERLENS_TRACEBACK"):
        messages.print_exception()
    say(f"failed: {type(error).__name__}: {error}", "  hint: set CIPHERLENS_TRACEBACK=1 to see where")
    return CipherlensError.exit_code


def _list_options(arguments: list[str]) -> set[str]:
    """The options of the command in ``arguments``; none where it names no command."""
    named = [name for name in arguments if not name.startswith("-")]
    command, found = app, False
    while named and named[0] in command:
        command, found = command[named.pop(0)], True
    if not found or command.default_command is None:
        return set()
    return {name for argument in command.assemble_argument_collection() for name in argument.names}
