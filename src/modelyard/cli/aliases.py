"""``alias``: what names such as stable mean, and what they meant."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.context import REGISTRY, Cli, ReasonOption, command
from modelyard.cli.views import ago, table

if TYPE_CHECKING:
    from rich.table import Table

    from modelyard.client import Alias, AliasMove

aliases = typer.Typer(help="Move the aliases of a registered model and see where they were.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The registered model's name.", show_default=False)]
AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="For example stable.", show_default=False)]

# What --expected says for an alias that is not there yet.
_NOWHERE = "none"


def register(app: typer.Typer) -> None:
    for name, function in (("set", set_alias), ("list", list_aliases), ("history", history), ("rollback", rollback)):
        command(aliases, name)(function)
    command(aliases, "remove")(remove)
    app.add_typer(aliases, name="alias", rich_help_panel=REGISTRY)


def set_alias(
    cli: Cli,
    name: NameArgument,
    alias: AliasArgument,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="For example 1.4.2.", show_default=False)],
    expected: Annotated[
        str | None,
        typer.Option("--expected", metavar="VERSION", help="Only if it is there now; none for nowhere."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also at one whose accuracy drops past its limit; say why (--reason).")
    ] = False,
    reason: ReasonOption = "",
) -> None:
    """Have an alias point at a version."""
    shelf = cli.client.registry
    if expected is None:
        now = shelf.set_alias(name, alias, version, reason=reason, force=force)
    else:
        there = None if expected == _NOWHERE else expected
        now = shelf.set_alias(name, alias, version, reason=reason, expected=there, force=force)
    _show(cli, name, now)


def list_aliases(cli: Cli, name: NameArgument) -> None:
    """List the aliases of a registered model."""
    found = cli.client.registry.aliases(name)
    cli.show([alias.raw for alias in found], lambda: _alias_table(found))


def history(
    cli: Cli,
    name: NameArgument,
    alias: AliasArgument,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 50,
) -> None:
    """Where an alias was when, who moved it and why; the last move first."""
    found = list(islice(cli.client.registry.alias_history(name, alias, page_size=min(limit, 1000)), limit))
    if not found and not cli.is_plain:
        cli.say(f"{name} never had an alias {alias}.")
        return
    cli.show([move.raw for move in found], lambda: _move_table(found))


def rollback(cli: Cli, name: NameArgument, alias: AliasArgument, reason: ReasonOption = "") -> None:
    """Have an alias point where it did before its last move. Once more goes back again."""
    _show(cli, name, cli.client.registry.roll_back_alias(name, alias, reason=reason))


def remove(cli: Cli, name: NameArgument, alias: AliasArgument, reason: ReasonOption = "") -> None:
    """Remove an alias. Its history stays, and `rollback` brings it back."""
    cli.client.registry.remove_alias(name, alias, reason=reason)
    cli.say(f"{name}@{alias} is removed")


# ------------------------------------------------------------------------------------------- rendering


def _show(cli: Cli, name: str, now: Alias) -> None:
    cli.show(now.raw, lambda: f"{name}@{now.alias} is now {now.version}")


def _alias_table(found: Iterable[Alias]) -> Table:
    from rich.markup import escape

    made = table("ALIAS", "VERSION", "SINCE", "BY", "MESSAGE")
    for one in found:
        made.add_row(one.alias, one.version, ago(one.moved_at), escape(one.moved_by), escape(one.reason))
    return made


def _move_table(found: Iterable[AliasMove]) -> Table:
    from rich.markup import escape

    made = table("MOVE", "FROM", "TO", "WHEN", "KIND", "BY", "MESSAGE")
    for one in found:
        at = f"{one.at:%Y-%m-%d %H:%M:%S}"
        made.add_row(
            str(one.number), one.before or "-", one.after or "-", at, one.kind, escape(one.actor), escape(one.reason)
        )
    return made
