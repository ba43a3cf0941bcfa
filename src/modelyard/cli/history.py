"""``metrics``: what a model was asked over time, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.context import LOOK, Cli, ModelArgument, command

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelyard.client import ModelHistory

# Rows of a table that are read at a glance.
_ROWS = 12


def register(app: typer.Typer) -> None:
    command(app, "metrics", rich_help_panel=LOOK)(metrics)


def metrics(
    cli: Cli,
    name: ModelArgument,
    since: Annotated[str, typer.Option("--since", metavar="DURATION", help="How far back: 15m, 6h, 7d.")] = "1h",
    step: Annotated[
        str | None, typer.Option("--step", metavar="DURATION", help="From one row to the next; left out: a dozen rows.")
    ] = None,
) -> None:
    """A model's requests, errors, latency, instances and memory over time."""
    from datetime import UTC, datetime, timedelta

    from modelyard.domain.quantities import parse_duration

    try:
        back = parse_duration(since)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None
    told = cli.client.models.metrics(
        name, start=datetime.now(UTC) - timedelta(seconds=back), step=step or max(60, back / _ROWS)
    )
    cli.show(told.raw, lambda: _table(told))


def _table(told: ModelHistory) -> RenderableType:
    from datetime import datetime

    from modelyard.cli.views import table
    from modelyard.domain.quantities import rounded_bytes

    made = table("TIME", "REQUESTS", "REFUSED", "FAILED", "P50", "P95", "P99", "IN FLIGHT", "INSTANCES", "MEMORY")
    pattern = "%H:%M:%S" if told.step < 60 else "%H:%M" if told.step * len(told.times) <= 86_400 else "%Y-%m-%d %H:%M"
    for at, time in enumerate(told.times):
        instances, memory = told.instances[at], told.memory[at]
        made.add_row(
            datetime.fromtimestamp(time).astimezone().strftime(pattern),
            str(told.requests[at]),
            str(told.rejected[at]),
            str(told.errors[at]),
            *(_latency(column[at]) for column in (told.p50, told.p95, told.p99)),
            f"{told.in_flight[at]:.2f}",
            "-" if instances is None else str(instances),
            "-" if memory is None else rounded_bytes(memory),
        )
    return made


def _latency(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
