"""``traffic``: how the requests of a model are shared among its arms, and what came of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from modelyard.cli.context import UPDATES, Cli, DryRunOption, ModelArgument, ReasonOption, command
from modelyard.cli.forecasts import show_forecast
from modelyard.cli.progress import finish
from modelyard.cli.specs import pairs
from modelyard.cli.views import table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelyard.client import Traffic
    from modelyard.client.traffic_types import Arm


class _ShowsModels(TyperGroup):
    """``traffic NAME`` is ``traffic show NAME``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = not args or args[0].startswith("-") or args[0] in self.commands
        return super().resolve_command(ctx, args if known else ["show", *args])


traffic = typer.Typer(
    cls=_ShowsModels,
    no_args_is_help=True,
    help="Share a model's requests with other models, and compare them. [bold]traffic NAME[/] shows the arms.",
)


def register(app: typer.Typer) -> None:
    command(traffic, "show")(show)
    command(traffic, "set")(set_traffic)
    command(traffic, "clear")(clear)
    app.add_typer(traffic, name="traffic", rich_help_panel=UPDATES)


def show(cli: Cli, name: ModelArgument) -> None:
    """The arms of a model's traffic: shares, errors, latencies, and whether they differ."""
    found = cli.client.models.traffic(name)
    cli.show(found.raw, lambda: traffic_view(found))


def set_traffic(
    cli: Cli,
    name: ModelArgument,
    split: Annotated[
        list[str] | None, typer.Option("--split", metavar="MODEL=PERCENT", help="So many per cent go to MODEL.")
    ] = None,
    shadow: Annotated[
        list[str] | None, typer.Option("--shadow", metavar="MODEL=PERCENT", help="MODEL gets copies of so many.")
    ] = None,
    sticky: Annotated[
        str | None,
        typer.Option("--sticky", metavar="BY", help="header:NAME, cookie:NAME, cookie+set:NAME (sets it) or none."),
    ] = None,
    dry_run: DryRunOption = False,
    reason: ReasonOption = "",
) -> None:
    """Say where requests go. What is given replaces what was; what is left out stays. Nothing is interrupted."""
    change: dict[str, Any] = {}
    if split is not None:
        change["split"] = [{"model": arm, "weight": _percent(value)} for arm, value in pairs(split, "--split").items()]
    if shadow is not None:
        shares = pairs(shadow, "--shadow").items()
        change["shadow"] = [{"model": arm, "percent": _percent(value)} for arm, value in shares]
    if sticky is not None:
        change["sticky"] = _sticky(sticky)
    if not change:
        raise typer.BadParameter("Say what to change: --split, --shadow or --sticky; or clear it.")
    _patch(cli, name, change, dry_run, reason)


def clear(cli: Cli, name: ModelArgument, dry_run: DryRunOption = False, reason: ReasonOption = "") -> None:
    """Have all requests answered by the model itself."""
    _patch(cli, name, {"split": None, "shadow": None, "sticky": None}, dry_run, reason)


def _patch(cli: Cli, name: str, change: dict[str, Any], dry_run: bool, reason: str) -> None:
    patch = {"traffic": change}
    if dry_run:
        show_forecast(cli, name, cli.client.models.forecast_update(name, patch))
        return
    finish(cli, cli.client.models.update(name, patch, reason=reason), wait=True)


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number of per cent.") from None
    return int(value) if value == int(value) else value


def _sticky(text: str) -> dict[str, Any]:
    by, colon, name = text.partition(":")
    if by == "none" and not colon:
        return {"by": "none", "name": "", "set_cookie": False}
    if by not in ("header", "cookie", "cookie+set") or not name:
        raise typer.BadParameter(f"{text!r}: write header:NAME, cookie:NAME, cookie+set:NAME or none.")
    return {"by": by.removesuffix("+set"), "name": name, "set_cookie": by == "cookie+set"}


# ------------------------------------------------------------------------------------------- rendering


def traffic_view(found: Traffic) -> RenderableType:
    if not found.arms:
        return f"{found.name}: all requests go the same way."
    if not found.counted:
        from rich.console import Group

        return Group("Nothing has been counted of them here yet.", "", arm_table(found.arms))
    return arm_table(found.arms)


def arm_table(arms: Iterable[Arm]) -> RenderableType:
    """One line an arm."""
    made = table("ARM", "SHARE", "REQUESTS", "ERRORS", "P50", "P95", "P99", "MISSED", "COMPARED", wrap=("COMPARED",))
    for arm in arms:
        named = {"revision": f"revision {arm.name}", "shadow": f"{arm.name} (shadow)"}.get(arm.kind, arm.name)
        share = f"{arm.share_wanted:g} %" + (f" (is {arm.share_actual:.3g} %)" if arm.share_actual is not None else "")
        errors = f"{arm.errors}" + (f" ({arm.error_rate:.2%})" if arm.errors and arm.error_rate is not None else "")
        missed = ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in arm.missed.items())
        verdict = "front" if arm.front else arm.comparison.verdict if arm.comparison else ""
        if not arm.serving:
            verdict = "[yellow]does not serve[/]"
        made.add_row(
            named, share, str(arm.requests), errors, _ms(arm.p50), _ms(arm.p95), _ms(arm.p99), missed or "-", verdict
        )
    return made


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.3g} ms"
