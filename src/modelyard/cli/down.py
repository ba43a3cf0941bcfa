"""``down``: end everything of a home, and see that nothing is left."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.context import Cli, command, seconds
from modelyard.cli.launching import resolve
from modelyard.cli.problems import CliError
from modelyard.cli.progress import spinning
from modelyard.supervisor.processes import (
    Identity,
    clean_up,
    end_processes,
    instance_processes,
    service_processes,
    write_whole,
)

if TYPE_CHECKING:
    from modelyard.settings import Settings

_TIMEOUT = 30.0
# What the supervisor needs beyond the time that it gives the models: to end the gateway, to kill.
_MARGIN = 20.0


def register(app: typer.Typer) -> None:
    command(app, "down", rich_help_panel="Run Modelyard")(down)


def down(
    cli: Cli,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Kill what has not ended after this (default: 30s).")
    ] = None,
) -> None:
    """Stop Modelyard and all its processes. Models that run now run again after the next up."""
    limit = seconds(timeout, "--timeout")
    settings = resolve(cli.home)
    with spinning(cli, "Stopping Modelyard") as tell:
        ended = bring_down(settings, _TIMEOUT if limit is None else limit, tell)
    cli.say(f"Modelyard in {settings.home} is down." if ended else f"Nothing runs in {settings.home}.")


def bring_down(
    settings: Settings, timeout: float, tell: Callable[[str], None], hurry: Callable[[], bool] = lambda: False
) -> bool:
    """End everything of the home; False when nothing was there. ``hurry``: kill now what is left.

    Raises:
        CliError: something cannot be killed.
    """
    deadline = time.monotonic() + timeout
    # One that is only starting has no record yet.
    supervisor = next(iter(service_processes(settings.home, "supervisor")), None)
    if supervisor is not None:
        with contextlib.suppress(FileNotFoundError):
            write_whole(settings.run_dir / "down.json", json.dumps({"timeout": timeout}))
        supervisor.signal(signal.SIGTERM)
        _wait(supervisor, settings, deadline + _MARGIN, tell, hurry)
    services = [p for name in ("control", "gateway") for p in service_processes(settings.home, name)]

    def rest() -> list[Identity]:
        return [*(p for p in services if p.is_alive), *instance_processes(settings.home)]

    # All this is left only when the supervisor was killed. The control process comes first: it ends the
    # workers, and would start new ones for those that we end.
    found = bool(rest())
    for process in services:
        end_processes(process.is_left, lambda: deadline)
    left = end_processes(lambda: instance_processes(settings.home), lambda: deadline)
    left += [process for process in services if process.is_alive]
    if left:
        raise CliError(f"These processes cannot be killed: {', '.join(str(p.pid) for p in left)}.")
    clean_up(settings.run_dir)
    return supervisor is not None or found


def _wait(
    supervisor: Identity,
    settings: Settings,
    deadline: float,
    tell: Callable[[str], None],
    hurry: Callable[[], bool],
) -> None:
    """Until the supervisor has ended; past ``deadline`` it is killed, and what it has left found by the caller."""
    hurried, count = False, -1
    while supervisor.is_alive:
        now = len(instance_processes(settings.home))
        if now != count:
            count = now
            tell(f"Stopping Modelyard: {now} process(es) of models left" if now else "Stopping Modelyard")
        if hurry() and not hurried:
            # A second SIGTERM makes it kill.
            hurried = supervisor.signal(signal.SIGTERM)
        if time.monotonic() >= deadline:
            supervisor.signal(signal.SIGKILL)
        time.sleep(0.05)
