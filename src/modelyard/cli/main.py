"""The entry point: the commands put together, and every error turned into one block and an exit code."""

from __future__ import annotations

import os
import sys

import typer

from modelyard.cli import down, models, traffic, up, views
from modelyard.cli.context import HomeOption, NamespaceOption, OutputOption, TokenFileOption, UrlOption
from modelyard.cli.problems import MEANING, CliError, print_error

_EPILOG = "Exit codes: " + ", ".join(f"[bold]{code.value}[/] {meaning}" for code, meaning in MEANING.items()) + "."

app = typer.Typer(
    name="modelyard",
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
    home: HomeOption = None,
) -> None:
    # The values are read from the context by the commands (Cli.of).
    pass


up.register(app)
down.register(app)
models.register(app)
views.register(app)
traffic.register(app)


def main() -> None:
    """Run the command line and exit."""
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
    return int(print_error(Cli().err, error))


if __name__ == "__main__":
    main()
