"""``import`` and ``transfers``: what the server fetches and publishes by itself, begun and watched from here."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import REGISTRY, Cli, ReasonOption, WaitOption, WaitTimeoutOption, command, seconds
from modelyard.cli.metadata import (
    AliasOption,
    AllowCodeOption,
    AllowPickleOption,
    BumpOption,
    CardOption,
    DatasetOption,
    DescriptionOption,
    ExcludeOption,
    FrameworkOption,
    IncludeOption,
    LabelOption,
    LicenceOption,
    MetricOption,
    ParentOption,
    RevisionOption,
    RunOption,
    check_names,
    framework_of,
    numbers_of,
    text_of,
)
from modelyard.cli.progress import moving
from modelyard.cli.registry import split_pick
from modelyard.cli.specs import pairs
from modelyard.cli.views import ago, duration, pairs_table, styled, table
from modelyard.domain.quantities import rounded_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from modelyard.client import Transfer

transfers = typer.Typer(help="See what the server fetches, and cancel it.", no_args_is_help=True)

TransferArgument = Annotated[str, typer.Argument(metavar="TRANSFER", help="Its id.", show_default=False)]

_DOES = {"fetching": "Fetching", "scanning": "Looking into", "pushing": "Storing", "publishing": "Publishing"}


def register(app: typer.Typer) -> None:
    for name, function in (("list", list_transfers), ("show", show), ("watch", watch), ("cancel", cancel)):
        command(transfers, name)(function)
    command(app, "import", rich_help_panel=REGISTRY)(import_version)
    app.add_typer(transfers, name="transfers", rich_help_panel=REGISTRY)


def import_version(
    cli: Cli,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="https://, s3://, hf://, oci://, …: as the server reaches it.",
                            show_default=False),
    ],
    name: Annotated[
        str,
        typer.Argument(metavar="NAME[@VERSION]", help="The model and the new version's number.", show_default=False),
    ],
    bump: BumpOption = None,
    alias: AliasOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    framework: FrameworkOption = None,
    metric: MetricOption = None,
    label: LabelOption = None,
    parent: ParentOption = "",
    dataset: DatasetOption = "",
    run: RunOption = "",
    revision: RevisionOption = "",
    licence: LicenceOption = "",
    card: CardOption = None,
    description: DescriptionOption = "",
    allow_code: AllowCodeOption = False,
    allow_pickle: AllowPickleOption = False,
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
    reason: ReasonOption = "",
) -> None:  # fmt: skip
    """Have the server fetch a source and publish it as a version. It goes on when this command is interrupted."""
    model, number = split_pick(name)
    check_names(model, number, bump, alias or ())
    metadata: dict[str, Any] = {
        "framework": framework_of(framework), "metrics": numbers_of(metric or ()),
        "labels": pairs(label or [], "--label"), "licence": licence, "description": description,
        "lineage": {"parent": parent, "dataset": dataset, "training_run": run, "code_revision": revision},
        "card": text_of(card) if card else "",
        "trust": [word for word, given in (("code", allow_code), ("pickle", allow_pickle)) if given],
    }  # fmt: skip
    begun = cli.client.transfers.import_version(
        source, model, number, bump=bump, aliases=alias or (), include=include or (), exclude=exclude or (),
        reason=reason, **metadata,
    )  # fmt: skip
    if wait:
        begun = _watched(cli, begun, seconds(wait_timeout, "--wait-timeout"))
    else:
        cli.say(f"Importing {name}: `modelyard transfers watch {begun.id}` shows how far it is")
    if cli.is_plain:
        cli.show(begun.raw, lambda: "")


def list_transfers(
    cli: Cli,
    model: Annotated[str | None, typer.Option("--model", help="Only to this registered model.")] = None,
    running: Annotated[bool, typer.Option("--running", help="Only those that are not over.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 20,
) -> None:
    """What the server was asked to move lately, and what came of it."""
    wanted = cli.client.transfers.list(
        namespace=cli.namespace, model=model, done=False if running else None, page_size=min(limit, 1000)
    )
    found = list(islice(wanted, limit))
    cli.show([one.raw for one in found], lambda: _table(found))


def show(cli: Cli, transfer: TransferArgument) -> None:
    """Everything about one."""
    one = cli.client.transfers.get(transfer)
    cli.show(one.raw, lambda: _view(one))


def watch(cli: Cli, transfer: TransferArgument, wait_timeout: WaitTimeoutOption = None) -> None:
    """Show how far it is until it is over."""
    found = _watched(cli, cli.client.transfers.get(transfer), seconds(wait_timeout, "--wait-timeout"))
    if cli.is_plain:
        cli.show(found.raw, lambda: "")


def cancel(cli: Cli, transfer: TransferArgument) -> None:
    """End it. Nothing is published then."""
    ended = cli.client.transfers.cancel(transfer)
    cli.show(ended.raw, lambda: f"The {ended.kind} of {_name(ended)} is cancelled")


# ------------------------------------------------------------------------------------------- watching


def _watched(cli: Cli, transfer: Transfer, timeout: float | None) -> Transfer:
    """The transfer once it has succeeded, with its progress until then. Raises ModelyardError."""
    try:
        with _phases(cli) as tell:
            found = cli.client.transfers.wait(transfer, timeout=timeout, on_change=tell)
    except KeyboardInterrupt:
        cli.note(
            f"Interrupted. The {transfer.kind} goes on: `modelyard transfers watch {transfer.id}` shows how far it is, "
            f"`modelyard transfers cancel {transfer.id}` ends it."
        )
        raise
    cli.say(f"{_name(found)} is published")
    return found


@contextmanager
def _phases(cli: Cli) -> Generator[Callable[[Transfer], None]]:
    """Shows one phase after the other; the function given is told of the transfer whenever it has moved."""
    shown: tuple[str, str | None, int] | None = None
    with ExitStack() as bar:
        progress: Callable[[int, int], None] | None = None

        def tell(now: Transfer) -> None:
            nonlocal shown, progress
            if (now.state, now.phase, now.attempt) != shown:
                bar.close()
                shown, progress = (now.state, now.phase, now.attempt), None
                if now.state == "queued":
                    cli.err.print(_waits(now), markup=False, soft_wrap=True)
                elif now.state == "running":
                    progress = bar.enter_context(moving(cli, f"{_DOES.get(now.phase or '', 'At')} {_name(now)}"))
            if progress is not None and now.bytes_done:
                progress(now.bytes_done, now.bytes_total or 0)

        yield tell


def _waits(now: Transfer) -> str:
    if now.error is None:
        return f"{_name(now)} waits for its turn"
    return f"{_name(now)} is tried again: {now.error.message}"


# ------------------------------------------------------------------------------------------- rendering


def _name(one: Transfer) -> str:
    return f"{one.model}@{one.version}" if one.version else one.model


def _done(one: Transfer) -> str:
    if not one.bytes_done:
        return "-"
    return (
        f"{rounded_bytes(one.bytes_done)} of {rounded_bytes(one.bytes_total)}"
        if one.bytes_total
        else rounded_bytes(one.bytes_done)
    )


def _rate(one: Transfer) -> str:
    return f"{rounded_bytes(int(one.rate))}/s" if one.rate else "-"


def _left(one: Transfer) -> str:
    return "-" if one.seconds_left is None else duration(one.seconds_left)


def _table(found: Iterable[Transfer]) -> Table:
    from rich.markup import escape

    made = table("TRANSFER", "MODEL", "STATE", "PHASE", "DONE", "RATE", "LEFT", "AGE", "MESSAGE")
    for one in found:
        made.add_row(
            one.id, _name(one), styled(one.state), one.phase or "-", _done(one), _rate(one), _left(one),
            ago(one.created_at), escape(one.error.message if one.error else one.source),
        )  # fmt: skip
    return made


def _view(one: Transfer) -> Table:
    from rich.markup import escape

    rows = [
        ("transfer", one.id), ("kind", one.kind), ("model", _name(one)), ("namespace", one.namespace),
        ("source", one.source), ("state", one.state), ("phase", one.phase or "-"), ("done", _done(one)),
        ("rate", _rate(one)), ("left", _left(one)), ("attempt", str(one.attempt)), ("by", one.actor),
        ("reason", one.reason or "-"), ("begun", f"{one.created_at:%Y-%m-%d %H:%M:%S}"),
        ("ended", f"{one.ended_at:%Y-%m-%d %H:%M:%S}" if one.ended_at else "-"),
        ("error", one.error.message if one.error else "-"),
    ]  # fmt: skip
    return pairs_table([(key, escape(value)) for key, value in rows])
