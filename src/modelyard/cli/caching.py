"""``cache``: what is laid out on the server's machine, what it saved, and what is to stay there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.context import (
    REGISTRY,
    Cli,
    HomeOption,
    NamespaceOption,
    OutputOption,
    ReasonOption,
    TokenFileOption,
    UrlOption,
    command,
)
from modelyard.cli.registry import split_pick
from modelyard.cli.views import ago, pairs_table, table
from modelyard.domain.quantities import rounded_bytes

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from modelyard.client import Cache, Evicted, Pin
    from modelyard.client.cache_types import CachedFolder, CachedVersion

cache = typer.Typer(invoke_without_command=True)

PickArgument = Annotated[
    str,
    typer.Argument(metavar="NAME[@VERSION]", help="1.4.2, ^1.4, stable (default: latest).", show_default=False),
]
# Of a manifest so many digits tell it from others.
_DIGITS = 12
_WHY = {"pinned": "pinned", "in_use": "in use", "young": "used a moment ago"}


def register(app: typer.Typer) -> None:
    for name, function in (("pin", pin), ("unpin", unpin), ("preload", preload)):
        command(cache, name)(function)
    app.add_typer(cache, name="cache", rich_help_panel=REGISTRY)


@cache.callback(help="The files of registered versions on the server's machine: what is there, for whom, what stays.")
def show(
    context: typer.Context,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    home: HomeOption = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    cli = Cli.of(context)
    found = cli.client.cache.get()
    cli.show(found.raw, lambda: _cache_view(found))


def pin(cli: Cli, name: PickArgument, reason: ReasonOption = "") -> None:
    """Keep a version in the cache, whatever its size; of an alias or a range what it means at any time."""
    model, pick = split_pick(name)
    made = cli.client.cache.pin(model, pick or "latest", reason=reason)
    cli.show(made.raw, lambda: f"{made.reference} (now {made.version}) stays in the cache{_there(made)}")


def unpin(cli: Cli, name: PickArgument) -> None:
    """No longer keep a version in the cache."""
    model, pick = split_pick(name)
    cli.client.cache.unpin(model, pick or "latest")
    cli.say(f"{model}@{pick or 'latest'} is no longer pinned")


def preload(
    cli: Cli,
    name: PickArgument,
    remove: Annotated[bool, typer.Option("--remove", help="No longer.")] = False,
    reason: ReasonOption = "",
) -> None:
    """Have a version laid out before anybody needs it, also what an alias or a range comes to mean; and keep it."""
    model, pick = split_pick(name)
    if remove:
        cli.client.cache.unpin(model, pick or "latest", preload=True)
        cli.say(f"{model}@{pick or 'latest'} is no longer laid out ahead")
        return
    made = cli.client.cache.pin(model, pick or "latest", preload=True, reason=reason)
    how = "is laid out" if made.laid_out else "is being laid out"
    cli.show(made.raw, lambda: f"{made.reference} (now {made.version}) {how}, and stays in the cache")


def _there(made: Pin) -> str:
    return "" if made.laid_out else "; it gets there when it is first needed (or at once: modelyard cache preload)"


# ------------------------------------------------------------------------------------------- rendering


def why_kept(done: Evicted) -> str:
    """What is in the way of a smaller cache, a line each."""
    head = f"That is {rounded_bytes(done.over)} more than it was to be:"
    lines = []
    for kept in done.kept:
        what, why = versions_text(kept.versions, kept.manifest), _WHY.get(kept.reason, kept.reason)
        lines.append(f"  {what} ({rounded_bytes(kept.size)}) stays: {why}")
    return "\n".join([head, *lines])


def versions_text(versions: Sequence[CachedVersion], manifest: str) -> str:
    """The names of what is laid out; where nobody knows any, the beginning of its manifest's."""
    names = [f"{version}{' (deleted)' if version.deleted else ''}" for version in versions]
    return ", ".join(names) or manifest.removeprefix("sha256:")[:_DIGITS]


def _cache_view(found: Cache) -> RenderableType:
    from rich.console import Group

    limit = f" of {rounded_bytes(found.limit)}" if found.limit is not None else ", without a limit"
    needed = found.hits + found.misses
    hits = f"{found.hits} of {needed} ({found.hits * 100 // needed} %)" if needed else "nothing was needed yet"
    fetched = ", ".join(f"{rounded_bytes(size)} from the {source}" for source, size in found.fetched.items())
    rows = [
        ("Cache", found.path),
        ("Size", f"{rounded_bytes(found.size)}{limit}; {rounded_bytes(found.shared)} more are shared with the store"),
        ("Hits", f"{hits}, since {found.since:%Y-%m-%d %H:%M} UTC"),
        ("Fetched", f"{fetched}; {rounded_bytes(found.spared)} were there"),
    ]
    parts: list[RenderableType] = [pairs_table(rows), ""]
    parts.append(_folder_table(found.folders) if found.folders else "Nothing is laid out.")
    if found.pins:
        parts += ["", _pin_table(found.pins)]
    return Group(*parts)


def _folder_table(found: Iterable[CachedFolder]) -> Table:
    from rich.markup import escape

    made = table("VERSION", "LAYOUT", "SIZE", "OWN", "USED", "KEPT BY", wrap=("VERSION", "KEPT BY"))
    for one in found:
        kept = [
            *(f"model {model}" for model in one.models), *(f"pin {reference}" for reference in one.pinned),
            *(f"preload {reference}" for reference in one.preloaded),
        ]  # fmt: skip
        made.add_row(
            versions_text(one.versions, one.manifest), one.layout, rounded_bytes(one.size), rounded_bytes(one.own),
            ago(one.used_at), escape(", ".join(kept)) or "-",
        )  # fmt: skip
    return made


def _pin_table(found: Iterable[Pin]) -> Table:
    from rich.markup import escape

    made = table("KEEPS", "MEANS", "KIND", "STATE", "BY", "MESSAGE")
    for one in found:
        made.add_row(
            escape(f"{one.namespace}/{one.reference}"), one.version or "-", "preload" if one.preload else "pin",
            _state(one), escape(one.by), escape((one.progress.error if one.progress else "") or one.reason),
        )  # fmt: skip
    return made


def _state(one: Pin) -> str:
    if one.version is None:
        return "[yellow]means nothing now[/]"
    progress = one.progress
    if progress is None or progress.state == "done":
        return "[green]there[/]" if one.laid_out else "not laid out"
    if progress.state == "running":
        share = f" {progress.done * 100 // progress.total} %" if progress.total else ""
        return f"[cyan]being laid out{share}[/]"
    if progress.state == "failed":
        again = f", again at {progress.retry_at:%H:%M:%S} UTC" if progress.retry_at else ""
        return f"[bold red]failed[/]{again}"
    return "waiting"
