"""What ``--dry-run`` shows: what a request would come to, and what a change changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelyard.cli.context import Cli
from modelyard.cli.views import amount_text, pairs_table, refs_text, table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from modelyard.client import FieldChange, Forecast

_EFFECT = {
    "metadata": "at once",
    "features": "at once",
    "autoscaling": "instances come or go",
    "container": "new instances, to be acknowledged",
    "rollout": "new instances",
}


def show_forecast(cli: Cli, name: str, forecast: Forecast) -> None:
    """Nothing has changed: say what would."""
    cli.show(forecast.raw, lambda: _forecast_view(name, forecast))


def _forecast_view(name: str, found: Forecast) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    rows: list[tuple[str, str]] = []
    if found.count:
        times = "" if found.count == 1 else f"{found.count} × "
        rows += [("Needs", times + amount_text(found.each)), ("Free", amount_text(found.free, every=True))]
    if found.strategy:
        rows.append(("Strategy", found.strategy))
    if found.waiting is not None:
        rows.append(("Short", escape(found.waiting.message)))
    if found.place is not None:
        rows.append(("Place", f"{found.place} in the queue"))
    if found.would_preempt:
        rows.append(("Preempts", refs_text(found.would_preempt)))
    elif found.must_stop:
        rows.append(("To fit", f"{refs_text(found.must_stop)} would have to stop"))
    parts: list[RenderableType] = [f"[bold]{escape(name)}[/] {_verdict(found)}", *([pairs_table(rows)] if rows else [])]
    if found.changes:
        parts += ["", change_table(found.changes)]
    if found.needs_acknowledgement:
        parts += ["", "It replaces instances: give --acknowledge-restart."]
    parts += [f"[yellow]![/] {escape(warning)}" for warning in found.warnings]
    return Group(*parts)


def _verdict(found: Forecast) -> str:
    if not found.fits:
        return "would make room for itself" if found.would_preempt else "would [yellow]wait[/]: it does not fit now"
    if found.count:
        return "would [green]fit[/]"
    return "would change, and nothing would be launched" if found.changes else "would stay as it is"


def change_table(changes: Iterable[FieldChange]) -> Table:
    from rich.markup import escape

    made = table("FIELD", "BEFORE", "AFTER", "EFFECT", wrap=("BEFORE", "AFTER"))
    for change in changes:
        effect = _EFFECT.get(change.effect, change.effect)
        made.add_row(escape(change.path), escape(value_text(change.before)), escape(value_text(change.after)), effect)
    return made


def value_text(value: Any) -> str:
    """A field's value in a table."""
    import json

    if value is None:
        return "-"
    if (
        value == ""
        or isinstance(value, bool)
        or (isinstance(value, (Mapping, Sequence)) and not isinstance(value, str))
    ):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)
