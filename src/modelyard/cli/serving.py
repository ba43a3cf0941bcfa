"""``serve``: a server of models from files in this terminal, for development; nothing is managed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.context import Cli, command
from modelyard.cli.problems import CliError, ExitCode

_LOADING = "How models are loaded"
_ENVIRONMENTS = ("development", "production")


def register(app: typer.Typer) -> None:
    command(app, "serve", rich_help_panel="Run Modelyard")(serve)


def _model(text: str) -> str:
    """``[NAME=]PATH`` with the home in the place of a ~. What comes after a slash, or is there, is part of the path."""
    whole = Path(text).expanduser()
    name, equals, path = text.partition("=")
    if not equals or "/" in name or whole.exists():
        return str(whole.absolute())
    return f"{name}={Path(path).expanduser()}"


def serve(
    cli: Cli,
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=]PATH", help="A model, or a folder of models.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="The address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="The port (default: 8900; 0: any).")
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Load anew what changes, models and their code.")] = False,
    mock: Annotated[
        list[str] | None,
        typer.Option("--mock", metavar="NAME[=FILE]", help="A model that answers with the tensors in FILE."),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option("--cors", metavar="ORIGIN", help="Whose pages may ask; in development this machine's may."),
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", help="development or production; else it is told by what is set.")
    ] = None,
    trusted: Annotated[bool, typer.Option("--trusted", help="Load pickles, too: you vouch for their code.")] = False,
    critical: Annotated[
        list[str] | None,
        typer.Option(
            "--critical", metavar="NAME", help="Loaded first; not ready without it.", rich_help_panel=_LOADING
        ),
    ] = None,
    preload: Annotated[
        list[str] | None,
        typer.Option("--preload", metavar="NAME", help="Loaded ahead, or all.", rich_help_panel=_LOADING),
    ] = None,
    max_parallel_loads: Annotated[
        int | None, typer.Option("--max-parallel-loads", min=1, help="At once (default: 1).", rich_help_panel=_LOADING)
    ] = None,
    memory_budget: Annotated[
        str | None, typer.Option("--memory-budget", help="For all, as 2Gi.", rich_help_panel=_LOADING)
    ] = None,
    startup_timeout: Annotated[
        float | None,
        typer.Option("--startup-timeout", help="Seconds for the critical models.", rich_help_panel=_LOADING),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="A model's (default: 1).", rich_help_panel=_LOADING)
    ] = None,
) -> None:
    """Serve models from files in this terminal, many in one process. What is managed is served by `up`."""
    if environment is not None and environment not in _ENVIRONMENTS:
        raise CliError(f"--environment {environment}: write development or production.", exit_code=ExitCode.USAGE)
    words = [_model(text) for text in models or ()]
    options: dict[str, object] = {
        "--host": host, "--port": port, "--mock": mock, "--cors": cors, "--environment": environment,
        "--critical": critical, "--preload": preload, "--max-parallel-loads": max_parallel_loads,
        "--memory-budget": memory_budget, "--startup-timeout": startup_timeout, "--threads": threads,
    }  # fmt: skip
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str) and one.startswith("-"):
                # The next option, taken for what this one is to be given.
                raise CliError(f"{name} is to be given a value, not {one}.", exit_code=ExitCode.USAGE)
            if one is not None:
                words.append(f"{name}={one}")
    words += ["--reload"] * reload + ["--trusted"] * trusted
    # It becomes the server, which has this terminal and its signals to itself.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "modelyard.runtime", "serve", *words])  # noqa: S606
