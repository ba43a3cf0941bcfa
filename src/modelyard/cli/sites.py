"""``capacity``, ``doctor``, ``namespace``: what models share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import SHARED, Cli, command
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.views import ago, amount_text, size, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelyard.client import Finding, Namespace, SiteCapacity

namespaces = typer.Typer(help="Namespaces and what they may hold.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The namespace's name.", show_default=False)]
CpuOption = Annotated[str | None, typer.Option("--cpu", help="Cores at most; or none for as many as there are.")]
MemoryOption = Annotated[str | None, typer.Option("--memory", help="For example 8Gi; or none.")]
GpusOption = Annotated[str | None, typer.Option("--gpus", help="Devices at most; or none.")]


def register(app: typer.Typer) -> None:
    command(app, "capacity", rich_help_panel=SHARED)(capacity)
    command(app, "doctor", rich_help_panel=SHARED)(doctor)
    for name, function in (("list", list_namespaces), ("create", create), ("set", set_quota), ("delete", delete)):
        command(namespaces, name)(function)
    app.add_typer(namespaces, name="namespace", rich_help_panel=SHARED)


def capacity(cli: Cli, site: Annotated[str | None, typer.Option("--site", help="Only this one's.")] = None) -> None:
    """What there is, who holds it, and who waits for it."""
    found = cli.client.capacity(site=site)
    cli.show([one.raw for one in found], lambda: _capacity_view(found))


def doctor(
    cli: Cli,
    fix: Annotated[bool, typer.Option("--fix", help="Clear what is found.")] = False,
    site: Annotated[
        str | None,
        typer.Option("--site", metavar="ID", help="With --fix: only take over the models of this site, unverified."),
    ] = None,
) -> None:
    """Find what belongs to nothing any more: processes, folders, sockets, rows, models of lost sites."""
    from modelyard.client import NotRunning

    if site is not None and not fix:
        raise typer.BadParameter("A site is given up with --fix.", param_hint="--site")
    try:
        found = cli.client.examine() if site is not None or not fix else cli.client.clear()
        if site is not None:
            found = [one for one in found if (one.kind, one.id) == ("site", site)]
            if not found:
                raise CliError(f"There is no site {site!r} that can be given up.", hint="See: modelyard doctor")
            found = cli.client.clear(found)
    except NotRunning as error:
        raise CliError(
            str(error), hint="The doctor asks the Modelyard that runs: only it knows what belongs to what.",
            exit_code=ExitCode.NOT_RUNNING,
        ) from error  # fmt: skip
    cli.show([one.raw for one in found], lambda: _findings_view(found, fix))
    if fix and not all(one.cleared for one in found):
        raise typer.Exit(ExitCode.FAILED)


def list_namespaces(cli: Cli) -> None:
    """List namespaces, with what they hold of their quota."""
    found = cli.client.namespaces.list()
    cli.show([one.raw for one in found], lambda: _namespace_table(found))


def create(
    cli: Cli,
    name: NameArgument,
    description: Annotated[str, typer.Option("--description", help="A few words.")] = "",
    cpu: CpuOption = None,
    memory: MemoryOption = None,
    gpus: GpusOption = None,
) -> None:
    """Make a namespace."""
    made = cli.client.namespaces.create(name, description=description, quota=_quota(cpu, memory, gpus))
    cli.show(made.raw, lambda: _namespace_table([made]))


def set_quota(
    cli: Cli, name: NameArgument, cpu: CpuOption = None, memory: MemoryOption = None, gpus: GpusOption = None,
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", metavar="NAME=VALUE", help="on, off, a text, or default; repeatable."),
    ] = None,
    description: Annotated[str | None, typer.Option("--description", help="A few words.")] = None,
) -> None:  # fmt: skip
    """Say what a namespace's instances may hold at a time, and what it may use. What is not named stays as it is."""
    quota = _quota(cpu, memory, gpus)
    if not quota and not feature and description is None:
        raise typer.BadParameter("Say what to change: --cpu, --memory, --gpus, --feature or --description.")
    changed = cli.client.namespaces.update(
        name, description=description, features=dict(map(_feature, feature or ())) or None, quota=quota or None
    )  # fmt: skip
    cli.show(changed.raw, lambda: _namespace_table([changed]))


def _feature(text: str) -> tuple[str, bool | str | None]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE.", param_hint="--feature")
    words: dict[str, bool | None] = {"on": True, "off": False, "default": None}
    return name, words.get(value, value)


def delete(cli: Cli, name: NameArgument) -> None:
    """Forget an empty namespace."""
    cli.client.namespaces.delete(name)
    cli.say(f"{name} is deleted")


def _quota(cpu: str | None, memory: str | None, gpus: str | None) -> dict[str, Any]:
    given = {"cpu": (cpu, float), "memory": (memory, str), "gpus": (gpus, int)}
    quota: dict[str, Any] = {}
    for name, (text, kind) in given.items():
        if text is None:
            continue
        try:
            quota[name] = None if text == "none" else kind(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is neither a number nor none.", param_hint=f"--{name}") from None
    return quota


# ------------------------------------------------------------------------------------------- rendering


def _capacity_view(found: Sequence[SiteCapacity]) -> RenderableType:
    from rich.console import Group

    parts: list[RenderableType] = []
    for site in found:
        if len(found) > 1:
            parts.append(f"[bold]Site {site.site}[/]")
        parts += [*_site_parts(site), ""]
    return Group(*parts[:-1]) if parts else "No control process has told what there is yet."


def _site_parts(site: SiteCapacity) -> list[RenderableType]:
    from rich.markup import escape

    there, held, free = site.inventory, site.held, site.free
    totals = table("", "TOTAL", "HELD", "FREE")
    totals.add_row("GPUs", str(len(there.devices)), str(held.gpus), str(free.gpus))
    totals.add_row("Memory", size(there.memory), size(held.memory), size(free.memory))
    totals.add_row("CPU", f"{there.cpu:g}", f"{held.cpu:g}", f"{free.cpu:g}")
    parts: list[RenderableType] = [totals]
    if there.devices:
        devices = table("DEVICE", "KIND", "MEMORY", "HOLDER", "NAME")
        for one in there.devices:
            holder = str(one.holder) if one.holder else "another model" if one.held else "[dim]free[/]"
            devices.add_row(one.id, one.kind, size(one.memory), holder, escape(one.name))
        parts += ["", devices]
    if site.holdings:
        holdings = table("MODEL", "INSTANCE", "CPU", "MEMORY", "DEVICES")
        for held_by in site.holdings:
            holdings.add_row(
                f"{held_by.namespace}/{held_by.model}", held_by.instance, f"{held_by.cpu:g}" if held_by.cpu else "-",
                size(held_by.memory), ", ".join(held_by.devices) or "-",
            )  # fmt: skip
        parts += ["", holdings]
    if site.queue:
        queue = table("PLACE", "MODEL", "PRIORITY", "NEEDS", "SINCE", "MESSAGE")
        for waits in site.queue:
            needs = ("" if waits.count == 1 else f"{waits.count} × ") + amount_text(waits.each)
            queue.add_row(
                str(waits.place), f"{waits.namespace}/{waits.model}", str(waits.priority), needs, ago(waits.since),
                escape(waits.message),
            )  # fmt: skip
        parts += ["", queue]
    return parts


def _findings_view(found: Sequence[Finding], fix: bool) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    if not found:
        return "Nothing is out of place."
    made = table("KIND", "WHAT", *(["RESULT"] if fix else []), "MESSAGE")
    for one in found:
        result = ["[green]cleared[/]" if one.cleared else "[bold red]left[/]"] if fix else []
        made.add_row(one.kind, escape(one.id), *result, escape(one.error or one.message))
    return made if fix else Group(made, "", "Clear them: modelyard doctor --fix")


def _namespace_table(found: Sequence[Namespace]) -> RenderableType:
    from rich.markup import escape

    made = table("NAMESPACE", "GPUS", "MEMORY", "CPU", "MESSAGE")
    for one in found:
        quota, usage = one.quota, one.usage
        made.add_row(
            one.name, _of(str(usage.gpus), None if quota.gpus is None else str(quota.gpus)),
            _of(size(usage.memory), None if quota.memory is None else size(quota.memory)),
            _of(f"{usage.cpu:g}", None if quota.cpu is None else f"{quota.cpu:g}"), escape(one.description),
        )  # fmt: skip
    return made


def _of(held: str, limit: str | None) -> str:
    return held if limit is None else f"{'0' if held == '-' else held} of {limit}"
