"""Waiting for an operation, with a spinner for people and plain lines for logs; both on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from modelyard.cli.context import Cli
from modelyard.cli.views import duration, released_text
from modelyard.domain.quantities import rounded_bytes

if TYPE_CHECKING:
    from modelyard.client import Operation

_VERB = {
    "deploy": "Deploying", "start": "Starting", "stop": "Stopping", "restart": "Restarting", "update": "Updating",
    "rollback": "Rolling back", "redeploy": "Redeploying", "terminate": "Ending an instance of",
    "delete": "Deleting",
}  # fmt: skip
_DONE = {
    "deploy": "is running", "start": "is running", "stop": "is stopped", "restart": "is running",
    "update": "is updated", "rollback": "is rolled back", "redeploy": "is redeployed",
    "terminate": "has ended the instance", "delete": "is deleted",
}  # fmt: skip
# Of a model that does not run afterwards.
_SET_UP = {"deploy": "is created", "update": "is updated", "rollback": "is rolled back"}


@contextmanager
def spinning(cli: Cli, text: str) -> Generator[Callable[[str], None]]:
    """Show that something is under way; the function given changes the words. Without a terminal each
    new text is a line of its own."""
    from rich.markup import escape

    if cli.err.is_terminal:
        with cli.err.status(escape(text)) as status:
            yield lambda words: status.update(escape(words))
        return
    shown = ""

    def tell(words: str) -> None:
        nonlocal shown
        if words != shown:
            shown = words
            cli.err.print(words, markup=False, soft_wrap=True)

    tell(text)
    yield tell


@contextmanager
def moving(cli: Cli, text: str) -> Generator[Callable[[int, int], None]]:
    """Show how far something is that moves bytes; the function given is told of bytes done and of how many there are,
    by any thread. Without a terminal each quarter is a line."""
    if not cli.err.is_terminal:
        yield _quarters(cli, text)
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=cli.err, transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


@contextmanager
def resumable(cli: Cli) -> Generator[None]:
    """Around what leaves behind what it has done when it is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        cli.err.print("Interrupted. Run it again: it goes on where it was.", soft_wrap=True)
        raise


def _quarters(cli: Cli, text: str) -> Callable[[int, int], None]:
    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        quarter = done * 4 // total if total else 4
        if quarter > told:
            told = quarter
            cli.err.print(f"{text}: {rounded_bytes(done)} of {rounded_bytes(total)}", markup=False, soft_wrap=True)

    return tell


def finish(cli: Cli, operation: Operation, *, wait: bool, timeout: float | None = None, show: bool = True) -> Operation:
    """Wait for an operation if asked to, and say what came of it. Gives the operation as it is then. Without
    ``show`` a program is told nothing: it gets the answer as part of another.

    Raises:
        ModelyardError: it failed, or is not done in time.
    """
    if wait and not operation.done:
        began = time.monotonic()
        operation = _wait(cli, operation, timeout)
        took = f" ({duration(time.monotonic() - began)})"
    elif wait:
        # Raises when it has failed already.
        operation, took = cli.client.operations.wait(operation), ""
    else:
        took = ""
    if not operation.done:
        cli.say(f"{_VERB.get(operation.kind, operation.kind)} {operation.model}: operation {operation.id}")
    else:
        released = (operation.result or {}).get("released")
        # Of a stop the time that counts is the one that was verified, not ours.
        cli.say(f"{operation.model} {_outcome(operation)}{_released(released) if released else took}")
    for warning in operation.warnings:
        cli.err.print(f"Warning: {warning}", markup=False, soft_wrap=True)
    if cli.is_plain and show:
        cli.show(operation.raw, lambda: "")
    return operation


def _wait(cli: Cli, operation: Operation, timeout: float | None) -> Operation:
    verb = _VERB.get(operation.kind, operation.kind)
    try:
        with spinning(cli, f"{verb} {operation.model}") as tell:

            def on_change(now: Operation) -> None:
                step = now.steps[-1] if now.steps else None
                # What the last step says is said by the outcome.
                if step is not None and step.message and not now.done:
                    tell(f"{verb} {operation.model}: {step.message}")

            return cli.client.operations.wait(operation, timeout=timeout, on_change=on_change)
    except KeyboardInterrupt:
        cli.note(f"Interrupted. The {operation.kind} goes on: `modelyard operations {operation.id}`.")
        raise


def _outcome(operation: Operation) -> str:
    result = operation.result or {}
    if result.get("unchanged"):
        return "is unchanged"
    if operation.kind in _SET_UP and result.get("state") not in (None, "running"):
        return f"{_SET_UP[operation.kind]} ({result['state']})"
    if operation.kind == "stop" and result.get("already"):
        return "is stopped already"
    return _DONE.get(operation.kind, operation.state)


def _released(released: dict[str, Any]) -> str:
    requests = released.get("requests") or {}
    counts = [f"{count} {what}" for what in ("finished", "refused", "cut") if (count := requests.get(what))]
    return f": {released_text(released)}" + (f"; requests: {', '.join(counts)}" if counts else "")
