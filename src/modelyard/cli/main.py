"""The entry point: the commands put together, and every error turned into one block and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from modelyard.cli.context import CaOption, HomeOption, NamespaceOption, OutputOption, TokenFileOption, UrlOption
from modelyard.cli.problems import MEANING, CliError, print_error

_EPILOG = "Exit codes: " + ", ".join(f"[bold]{code.value}[/] {meaning}" for code, meaning in MEANING.items()) + "."

# Objects that a command may make before it looks for those that it needs no more.
_GARBAGE = 100_000

# Which module of this package registers which commands, in the order of --help.
PARTS = {
    "up": ("up",),
    "down": ("down",),
    "dashboard": ("dashboard",),
    "serving": ("serve",),
    "deploying": ("deploy", "apply"),
    "models": ("start", "stop", "restart", "delete", "terminate"),
    "bulk": ("bulk",),
    "schedules": ("schedule",),
    "tuning": ("tune",),
    "updates": ("update", "scale", "redeploy", "rollback", "rollout", "revisions", "diff"),
    "splitting": ("traffic",),
    "views": ("list", "status", "show", "operations", "version"),
    "history": ("metrics",),
    "traffic": ("predict", "logs", "events"),
    "loadtest": ("load-test",),
    "projects": ("init",),
    "registry": ("register", "registry"),
    "aliases": ("alias",),
    "pushing": ("push",),
    "quantizing": ("quantize",),
    "converting": ("convert",),
    "contents": ("pull", "verify", "gc", "cleanup", "download"),
    "transfers": ("import", "transfers"),
    "mirroring": ("mirror",),
    "policies": ("policy",),
    "signing": ("sign", "keys"),
    "caching": ("cache",),
    "audit": ("audit",),
    "webhooks": ("alerts", "webhooks"),
    "sites": ("capacity", "doctor", "namespace"),
    "access": ("whoami", "members", "api-keys"),
}


class _Commands(TyperGroup):
    """Imports and builds a command when it is asked for: to build all of them would slow each call down."""

    def list_commands(self, ctx: object) -> list[str]:
        return [name for names in PARTS.values() for name in names]

    def get_command(self, ctx: object, cmd_name: str) -> Any:
        for part, names in PARTS.items():
            # A name that there is none of is compared with all there are, to say which one may be meant.
            wanted = cmd_name in names or cmd_name not in self.list_commands(ctx)
            if wanted and not self.commands.keys() >= set(names):
                made = typer.Typer(rich_markup_mode="rich")
                import_module(f"modelyard.cli.{part}").register(made)
                self.commands.update(get_group(made).commands)
        return self.commands.get(cmd_name)


app = typer.Typer(
    name="modelyard",
    cls=_Commands,
    help="The whole life of machine-learning models, from one place.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _shared(
    namespace: NamespaceOption = None,
    output: OutputOption = None,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    ca: CaOption = None,
    home: HomeOption = None,
) -> None:
    # The values are read from the context by the commands (Cli.of).
    pass


def main() -> None:
    """Run the command line and exit."""
    # What modules make while they load stays: to look through it again and again takes a short command milliseconds.
    gc.set_threshold(_GARBAGE)
    try:
        app()
    except Exception as error:
        sys.exit(_report(error))


def _report(error: Exception) -> int:
    # Imported only now: a command that succeeds may need no client.
    from modelyard.cli.context import Cli
    from modelyard.client import ModelyardError

    if isinstance(error, OSError):
        error = CliError(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")
    elif not isinstance(error, (CliError, ModelyardError)):
        if os.environ.get("MODELYARD_TRACEBACK"):
            raise error
        what = f"{type(error).__name__}: {error}"
        error = CliError(
            f"Something unexpected happened, which is a fault of Modelyard: {what}",
            hint="With MODELYARD_TRACEBACK=1 in the environment it says where.",
        )
    return int(print_error(Cli.latest, error))


if __name__ == "__main__":
    main()
