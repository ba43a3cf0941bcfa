"""``bulk``: start, stop, restart, delete, label and schedule many models by one request, and watch each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import (
    CHANGES,
    Cli,
    DryRunOption,
    EverywhereOption,
    ReasonOption,
    WaitOption,
    WaitTimeoutOption,
    command,
    complete_model,
    seconds,
)
from modelyard.cli.specs import pairs
from modelyard.cli.views import styled, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelyard.client import BulkForecast, Operation

bulk = typer.Typer(help="Work on many models by one request.", no_args_is_help=True)

_WHICH = "Which models"
# Rows of the live table; what has ended well and what waits is only counted beyond that.
_ROWS = 20
_FIRST = ("failed", "running", "cancelled", "skipped", "waiting", "succeeded")

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="NAME or NAMESPACE/NAME.", autocompletion=complete_model,
                   show_default=False),
]  # fmt: skip
SelectorOption = Annotated[
    list[str] | None,
    typer.Option("--selector", "-l", metavar="KEY=VALUE", help="With all these labels.", rich_help_panel=_WHICH),
]
NamespacesOption = Annotated[
    str | None,
    typer.Option("--namespaces", metavar="A,B", help="Of these.", rich_help_panel=_WHICH),
]
StateOption = Annotated[
    list[str] | None, typer.Option("--state", help="In this state (repeat: any).", rich_help_panel=_WHICH)
]
SearchOption = Annotated[str, typer.Option("--search", help="With this in the name.", rich_help_panel=_WHICH)]
AllOption = Annotated[bool, typer.Option("--all", help="All of them.", rich_help_panel=_WHICH)]
ConcurrencyOption = Annotated[
    int | None, typer.Option("--concurrency", min=0, help="So many at a time; 0: all (default: what suits).")
]
StopOnErrorOption = Annotated[bool, typer.Option("--stop-on-error", help="Begin no more once one has failed.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Kill at once instead of draining.")]
TimeoutOption = Annotated[str | None, typer.Option("--timeout", help="Kill what is not done after this.")]


@dataclass(frozen=True)
class _Request:
    """What all of the commands ask alike."""

    names: Sequence[str] | None
    selector: Sequence[str] | None
    namespaces: str | None
    everywhere: bool
    state: Sequence[str] | None
    search: str
    every: bool
    dry_run: bool
    concurrency: int | None
    stop_on_error: bool
    reason: str
    wait: bool
    wait_timeout: str | None
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def which(self) -> dict[str, Any]:
        places = [name for name in (self.namespaces or "").split(",") if name]
        if self.everywhere and places:
            raise typer.BadParameter("Say --namespaces or --all-namespaces, and only one of these.")
        if "*" in places:
            raise typer.BadParameter("All of them is --all-namespaces (-A).", param_hint="--namespaces")
        return {
            "names": self.names or (), "label": pairs(self.selector or [], "--selector"), "states": self.state or (),
            "search": self.search, "all": self.every, "namespaces": places,
            "namespace": "*" if self.everywhere else None,
        }  # fmt: skip


def register(app: typer.Typer) -> None:
    command(bulk, "start")(_plain("start", "Start models. A stop of one that comes later goes before its start."))
    command(bulk, "stop")(stop)
    command(bulk, "restart")(_plain("restart", "New instances of models; they go on serving meanwhile."))
    for function in (delete, label, schedule):
        command(bulk, function.__name__)(function)
    app.add_typer(bulk, name="bulk", rich_help_panel=CHANGES)


def _plain(action: str, about: str) -> Callable[..., None]:
    """A command that is told nothing but what all of them are."""

    def plain(
        cli: Cli, names: NamesArgument = None, selector: SelectorOption = None, namespaces: NamespacesOption = None,
        everywhere: EverywhereOption = False, state: StateOption = None,
        search: SearchOption = "", every: AllOption = False, dry_run: DryRunOption = False,
        concurrency: ConcurrencyOption = None, stop_on_error: StopOnErrorOption = False, reason: ReasonOption = "",
        wait: WaitOption = True, wait_timeout: WaitTimeoutOption = None,
    ) -> None:  # fmt: skip
        asked = _Request(names, selector, namespaces, everywhere, state, search, every, dry_run, concurrency,
                         stop_on_error, reason, wait, wait_timeout)  # fmt: skip
        _run(cli, action, asked)

    plain.__doc__ = about
    return plain


def stop(
    cli: Cli, names: NamesArgument = None, selector: SelectorOption = None, namespaces: NamespacesOption = None,
    everywhere: EverywhereOption = False, state: StateOption = None,
    search: SearchOption = "", every: AllOption = False, force: ForceOption = False,
    timeout: TimeoutOption = None, dry_run: DryRunOption = False, concurrency: ConcurrencyOption = None,
    stop_on_error: StopOnErrorOption = False, reason: ReasonOption = "", wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:  # fmt: skip
    """Stop models. In an emergency use `modelyard stop --all --force`: that goes before everything else."""
    asked = _Request(names, selector, namespaces, everywhere, state, search, every, dry_run, concurrency, stop_on_error,
                     reason, wait, wait_timeout, _ending(force, timeout))  # fmt: skip
    _run(cli, "stop", asked)


def delete(
    cli: Cli, names: NamesArgument = None, selector: SelectorOption = None, namespaces: NamespacesOption = None,
    everywhere: EverywhereOption = False, state: StateOption = None,
    search: SearchOption = "", every: AllOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False, force: ForceOption = False,
    timeout: TimeoutOption = None, dry_run: DryRunOption = False, concurrency: ConcurrencyOption = None,
    stop_on_error: StopOnErrorOption = False, reason: ReasonOption = "", wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:  # fmt: skip
    """Stop models and forget them. Their events stay."""
    asked = _Request(names, selector, namespaces, everywhere, state, search, every, dry_run, concurrency, stop_on_error,
                     reason, wait, wait_timeout, _ending(force, timeout))  # fmt: skip
    if not yes and not dry_run:
        _confirm(cli, asked)
    _run(cli, "delete", asked)


def label(
    cli: Cli,
    labels: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE|KEY-...", help="What to set; KEY- removes.", show_default=False)
    ],
    name: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="NAME or NAMESPACE/NAME.", rich_help_panel=_WHICH)
    ] = None,
    selector: SelectorOption = None, namespaces: NamespacesOption = None,
    everywhere: EverywhereOption = False, state: StateOption = None,
    search: SearchOption = "", every: AllOption = False, dry_run: DryRunOption = False,
    concurrency: ConcurrencyOption = None, stop_on_error: StopOnErrorOption = False, reason: ReasonOption = "",
    wait: WaitOption = True, wait_timeout: WaitTimeoutOption = None,
) -> None:  # fmt: skip
    """Set labels of models and remove them; nothing that runs is touched."""
    removed = {text.removesuffix("-"): None for text in labels if text.endswith("-") and "=" not in text}
    changed = {**pairs([text for text in labels if "=" in text or not text.endswith("-")], "LABEL"), **removed}
    asked = _Request(name, selector, namespaces, everywhere, state, search, every, dry_run, concurrency, stop_on_error,
                     reason, wait, wait_timeout, {"labels": changed})  # fmt: skip
    _run(cli, "label", asked)


def schedule(
    cli: Cli, names: NamesArgument = None, selector: SelectorOption = None, namespaces: NamespacesOption = None,
    everywhere: EverywhereOption = False, state: StateOption = None,
    search: SearchOption = "", every: AllOption = False,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Set the schedule in this file (YAML or JSON).", exists=True, dir_okay=False),
    ] = None,
    enable: Annotated[bool, typer.Option("--enable", help="Have theirs act again.")] = False,
    disable: Annotated[bool, typer.Option("--disable", help="Keep theirs, and have them do nothing.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Forget theirs.")] = False,
    dry_run: DryRunOption = False, concurrency: ConcurrencyOption = None, stop_on_error: StopOnErrorOption = False,
    reason: ReasonOption = "", wait: WaitOption = True, wait_timeout: WaitTimeoutOption = None,
) -> None:  # fmt: skip
    """Set the schedules of models, switch them, or remove them."""
    edits = [word for word, given in (("enable", enable), ("disable", disable), ("remove", remove)) if given]
    if len(edits) + (file is not None) != 1:
        raise typer.BadParameter("Say what to do: --file, --enable, --disable or --remove, and only one of these.")
    parameters: dict[str, Any] = {"schedule_edit": edits[0]} if edits else {"schedule": _document(file)}
    asked = _Request(names, selector, namespaces, everywhere, state, search, every, dry_run, concurrency, stop_on_error,
                     reason, wait, wait_timeout, parameters)  # fmt: skip
    _run(cli, "schedule", asked)


# ------------------------------------------------------------------------------------------- asking


def _ending(force: bool, timeout: str | None) -> dict[str, Any]:
    if force and timeout is not None:
        raise typer.BadParameter("--force kills at once: it does not go with --timeout.")
    grace = seconds(timeout, "--timeout")
    return {"graceful": not force} | ({} if grace is None else {"timeout": grace})


def _document(file: Path | None) -> Any:
    import yaml

    assert file is not None
    try:
        return yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{file} is not YAML: {error}", param_hint="--file") from error


def _confirm(cli: Cli, asked: _Request) -> None:
    import sys

    if not sys.stdin.isatty():
        raise typer.BadParameter("Nobody is here to be asked: give --yes.", param_hint="--yes")
    count = len(cli.client.bulk.forecast("delete", **asked.which).items)
    if not typer.confirm(f"Delete {count} model(s)?", err=True):
        raise typer.Exit(1)


def _run(cli: Cli, action: str, asked: _Request) -> None:
    from modelyard.client import OperationFailed

    limit = seconds(asked.wait_timeout, "--wait-timeout")
    work = cli.client.bulk
    if asked.dry_run:
        found = work.forecast(action, **asked.which, concurrency=asked.concurrency, **asked.parameters)
        cli.show(found.raw, lambda: _forecast_table(found))
        if any(item.error for item in found.items):
            raise typer.Exit(1)
        return
    operation = work.run(
        action, **asked.which, concurrency=asked.concurrency, reason=asked.reason,
        on_error="stop" if asked.stop_on_error else "continue", **asked.parameters,
    )  # fmt: skip
    if not asked.wait:
        cli.say(f"{action.capitalize()} of many models: `modelyard operations {operation.id}` shows how far it is")
        cli.show(operation.raw, lambda: "") if cli.is_plain else None
        return
    failed = False
    try:
        operation = _watched(cli, operation, limit)
    except OperationFailed as error:
        operation, failed = error.operation, True
    cli.show(operation.raw, lambda: items_table(operation, every=len(operation.items or ()) <= _ROWS))
    cli.say(_summary(operation))
    if failed:
        raise typer.Exit(1)


def _watched(cli: Cli, operation: Operation, timeout: float | None) -> Operation:
    """Raises OperationFailed, TimedOut."""
    try:
        with _live(cli) as tell:
            return cli.client.operations.wait(operation, timeout=timeout, on_change=tell)
    except KeyboardInterrupt:
        cli.note(f"Interrupted. It goes on: `modelyard operations {operation.id}` shows how far it is.")
        raise


@contextmanager
def _live(cli: Cli) -> Generator[Callable[[Operation], None]]:
    """Shows each model on a terminal, else a line whenever the counts are others."""
    if not cli.err.is_terminal:
        yield lambda now: cli.err.print(_summary(now), markup=False, soft_wrap=True) if not now.done else None
        return
    from rich.console import Group
    from rich.live import Live

    with Live(console=cli.err, transient=True, refresh_per_second=8) as live:
        yield lambda now: live.update(Group(items_table(now), _summary(now)))


# ------------------------------------------------------------------------------------------- rendering


def _summary(operation: Operation) -> str:
    counts = {state: count for state, count in (operation.counts or {}).items() if count and state != "total"}
    words = ", ".join(f"{count} {state}" for state, count in counts.items())
    total = (operation.counts or {}).get("total", 0)
    return f"{total} {'model' if total == 1 else 'models'}: {words or 'nothing has begun'}"


def items_table(operation: Operation, *, every: bool = True) -> RenderableType:
    """The models of an operation on many, those first that want to be looked at; without ``every`` only those that
    have not ended well."""
    from rich.markup import escape

    rows = sorted(operation.items or (), key=lambda item: _FIRST.index(item.state))
    shown = table("MODEL", "STATE", "OPERATION", "MESSAGE")
    wanted = [item for item in rows if every or item.state != "succeeded"]
    for item in wanted[:_ROWS] if not operation.done else wanted:
        message = item.error.detail if item.error else item.message
        shown.add_row(f"{item.namespace}/{item.model}", styled(item.state), item.operation or "-", escape(message))
    return shown


def _forecast_table(found: BulkForecast) -> RenderableType:
    from rich.markup import escape

    shown = table("MODEL", "STATE", "WOULD", "MESSAGE")
    for item in found.items:
        would = "fail" if item.error else found.action if item.does else "nothing"
        if item.forecast is not None and not item.forecast.fits:
            would = "wait"
        message = item.error.detail if item.error else item.message
        shown.add_row(f"{item.namespace}/{item.model}", styled(item.state or "-"), would, escape(message))
    return shown
