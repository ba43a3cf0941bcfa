"""Errors as people and scripts see them: one block on stderr, and an exit code."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from modelyard.cli.context import Cli
    from modelyard.client import ModelyardError


class ExitCode(IntEnum):
    """What scripts can tell apart."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    NOT_RUNNING = 5
    TIMED_OUT = 6
    INVALID = 7
    INTERRUPTED = 130


MEANING = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "it was tried and failed",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.NOT_FOUND: "there is no such thing",
    ExitCode.REFUSED: "not allowed now, or by this token",
    ExitCode.NOT_RUNNING: "Modelyard is not running, or cannot be reached",
    ExitCode.TIMED_OUT: "the wait ran out of time",
    ExitCode.INVALID: "the request is not valid",
    ExitCode.INTERRUPTED: "interrupted",
}


class CliError(Exception):
    """What a command itself has to refuse. ``hint`` says what to do, ``log`` what was written about it."""

    def __init__(self, message: str, *, hint: str = "", log: str = "", exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.log = log
        self.exit_code = exit_code


def exit_code(error: ModelyardError) -> ExitCode:
    from modelyard import client

    codes = {
        client.NotRunning: ExitCode.NOT_RUNNING,
        client.Unreachable: ExitCode.NOT_RUNNING,
        client.Untrusted: ExitCode.NOT_RUNNING,
        client.TimedOut: ExitCode.TIMED_OUT,
        client.InvalidRequest: ExitCode.INVALID,
        client.NotFound: ExitCode.NOT_FOUND,
        client.Unauthorized: ExitCode.REFUSED,
        client.Refused: ExitCode.REFUSED,
        client.VersionConflict: ExitCode.REFUSED,
    }
    if isinstance(error, client.ServerError):
        if error.code == "control_unavailable":
            return ExitCode.NOT_RUNNING
        if error.status == 504:
            return ExitCode.TIMED_OUT
        # A model that does not serve now says in which state it is.
        return ExitCode.REFUSED if error.status == 429 or "state" in error.body else ExitCode.FAILED
    return codes.get(type(error), ExitCode.FAILED)


def print_error(cli: Cli, error: ModelyardError | CliError, of: str = "") -> ExitCode:
    """Print what happened (to the model ``of``, where there are many), what is wrong with which option or field, and
    what to do."""
    from rich.markup import escape

    from modelyard.cli.wording import field as option_of

    console, line = cli.err, cli.note

    if isinstance(error, CliError):
        line(f"[bold red]Error:[/] {escape(str(error))}")
        _print_log(console, error.log)
        if error.hint:
            line(f"  {escape(error.hint)}")
        return error.exit_code
    # With fields to name, the sentence would only say them all over again.
    detail = "The request is not valid." if error.errors else _sentence(error)
    line(f"[bold red]Error:[/] {f'{escape(of)}: ' if of else ''}{escape(detail)}")
    for field in error.errors:
        line(f"  [bold]{escape(option_of(field.path, cli) or 'request')}[/]  {escape(field.message)}")
    _print_log(console, "\n".join(getattr(error, "log", ())))
    if error.allowed:
        line(f"  Allowed now: {escape(', '.join(error.allowed))}")
    if hint := _hint(error):
        line(f"  {hint}")
    if error.request_id:
        line(f"  [dim]Request {escape(error.request_id)}[/]")
    return exit_code(error)


def _print_log(console: Console, log: str) -> None:
    from rich.markup import escape

    for text in log.splitlines():
        console.print(f"  [dim]│[/] {escape(text)}", soft_wrap=True)


def _sentence(error: ModelyardError) -> str:
    from modelyard import client

    # Which version was meant is between the client and the server.
    return "Somebody changed it in between." if isinstance(error, client.VersionConflict) else error.detail


def _hint(error: ModelyardError) -> str:
    from modelyard import client

    if isinstance(error, client.Untrusted):
        return "--ca FILE trusts it for one command." if "ca_file" in error.detail else ""
    if isinstance(error, client.Unauthorized):
        return "The token is read from --token-file, MODELYARD_TOKEN, or admin.token in MODELYARD_HOME."
    if isinstance(error, client.NotFound):
        if error.detail.startswith("There is no registered model"):
            return "`modelyard registry list -A` shows which there are."
        if error.detail.startswith("There is no namespace"):
            return "`modelyard namespace list` shows which there are."
        missing = error.detail.startswith(("There is no model", "There is no such model"))
        return "`modelyard list -A` shows which models there are." if missing else ""
    if isinstance(error, client.VersionConflict):
        return "Look at it again, and repeat the command."
    if any(field.code == "untrusted_pickle" for field in error.errors):
        return "With --trusted you vouch for the code that loading it runs."
    if error.code == "version_exists" and "can be changed" in error.detail:
        return "`modelyard registry edit NAME@VERSION` changes what is said of it."
    if any(re.search("two days' entries: [^;]*$", field.message) for field in error.errors):
        return "With --split they are made of it."
    if any(field.message == "No model matches." for field in error.errors):
        return "`modelyard list -A` shows which models there are, with -o yaml also their labels."
    if any(field.path == "acknowledge_restart" for field in error.errors):
        return "With --acknowledge-restart it is done; with --dry-run it says what changes."
    if error.code == "already_exists" and "transfer" in error.detail:
        return "`modelyard transfers list --running` shows it."
    if error.code == "already_exists" and "registered" not in error.detail:
        return "`modelyard apply` changes a model that exists."
    return ""
