"""``capacity``, ``doctor``, ``namespace``: what models share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from modelyard.cli.context import SHARED, Cli, command
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.views import ago, amount_text, pairs_table, size, styled, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelyard.client import Finding, Member, Namespace, Policy, SiteCapacity

T = TypeVar("T")

namespaces = typer.Typer(help="Namespaces and what they may hold.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The namespace's name.", show_default=False)]
CpuOption = Annotated[str | None, typer.Option("--cpu", help="Cores at most; or none for as many as there are.")]
MemoryOption = Annotated[str | None, typer.Option("--memory", help="For example 8Gi; or none.")]
GpusOption = Annotated[str | None, typer.Option("--gpus", help="Devices at most; or none.")]


def register(app: typer.Typer) -> None:
    command(app, "capacity", rich_help_panel=SHARED)(capacity)
    command(app, "doctor", rich_help_panel=SHARED)(doctor)
    for name, function in (
        ("list", list_namespaces), ("show", show), ("create", create), ("set", set_quota), ("delete", delete),
    ):  # fmt: skip
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
    cli.show([one.raw for one in found], lambda: _findings_view(cli, found, fix))
    if fix and not all(one.cleared for one in found):
        raise typer.Exit(ExitCode.FAILED)


def list_namespaces(cli: Cli) -> None:
    """List namespaces, with what they hold of their quota."""
    found = cli.client.namespaces.list()
    cli.show([one.raw for one in found], lambda: _namespace_table(found))


def show(cli: Cli, name: NameArgument) -> None:
    """What a namespace holds of its quota, what it may use, its models by state, members and policies."""
    found = cli.client.namespaces.get(name)
    models = Counter(model.status.state for model in cli.client.models.list(namespace=name))
    members = _seen(lambda: cli.client.members.list(namespace=name))
    policies = _seen(lambda: cli.client.policies.list(namespace=name))
    # Those of the installation are for its administrators to see.
    for policy in _seen(lambda: cli.client.policies.list(namespace=None)) or ():
        patterns = policy.selector.get("namespaces") or ["*"]
        if policies is not None and any(fnmatchcase(name, pattern) for pattern in patterns):
            policies.append(policy)
    raw = {
        **found.raw, "models": dict(models),
        "members": None if members is None else [one.raw for one in members],
        "policies": None if policies is None else [one.raw for one in policies],
    }  # fmt: skip
    cli.show(raw, lambda: _namespace_view(found, models, members, policies))


def _seen(ask: Callable[[], Sequence[T]]) -> list[T] | None:
    """What is answered, None where it is not the caller's to see."""
    from modelyard.client import NotFound, Unauthorized

    try:
        return list(ask())
    except (NotFound, Unauthorized):
        return None


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
    cli.show(changed.raw, lambda: _changed(changed, bool(feature)))


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


def _findings_view(cli: Cli, found: Sequence[Finding], fix: bool) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    if not found:
        return "Nothing is out of place."
    made = table("KIND", "WHAT", *(["RESULT"] if fix else []), "MESSAGE")
    for one in found:
        result = ["[green]cleared[/]" if one.cleared else "[bold red]left[/]"] if fix else []
        made.add_row(one.kind, escape(one.id), *result, escape(one.error or one.message))
    return made if fix else Group(made, "", cli.completed("Clear them: modelyard doctor --fix"))


def _namespace_table(found: Sequence[Namespace]) -> RenderableType:
    from rich.markup import escape

    made = table("NAMESPACE", "GPUS", "MEMORY", "CPU", "MESSAGE")
    for one in found:
        made.add_row(one.name, *(value for _, value in _quota_rows(one)), escape(one.description))
    return made


def _namespace_view(
    of: Namespace, models: Mapping[str, int], members: Sequence[Member] | None, policies: Sequence[Policy] | None
) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    from modelyard.cli.policies import said

    unseen = "[dim]not yours to see[/]"
    rows = [
        ("Namespace", f"[bold]{of.name}[/]" + (f"  {escape(of.description)}" if of.description else "")),
        *_quota_rows(of),
        ("May use", _features(of)),
        ("Serves", "signed versions only" if of.require_signature else "signed and unsigned versions"),
        ("Models", ", ".join(f"{count} {styled(state)}" for state, count in sorted(models.items())) or "none"),
        *([("Members", unseen if members is None else "none")] if not members else []),
        *([("Policies", unseen if policies is None else "none")] if not policies else []),
    ]
    parts: list[RenderableType] = [pairs_table(rows)]
    if members:
        made = table("MEMBER", "ROLE", "MODELS")
        for one in members:
            made.add_row(escape(one.member), one.role, escape(", ".join(one.models)) or "all")
        parts += ["", made]
    if policies:
        made = table("POLICY", "OF", "MODE", "RULES")
        for policy in policies:
            owner = "this namespace" if policy.namespace == of.name else "the installation"
            made.add_row(policy.name, owner, policy.mode, ", ".join(said(policy.rules)))
        parts += ["", made]
    return Group(*parts)


def _changed(of: Namespace, features: bool) -> RenderableType:
    from rich.console import Group

    made = _namespace_table([of])
    return Group(made, "", f"It may use: {_features(of)}") if features else made


def _features(of: Namespace) -> str:
    from rich.markup import escape

    words = {True: "on", False: "off", "": "all"}
    return escape(", ".join(f"{name} {words.get(value, value)}" for name, value in of.features.items()))


def _quota_rows(of: Namespace) -> list[tuple[str, str]]:
    quota, usage = of.quota, of.usage
    return [
        ("GPUs", _of(str(usage.gpus), None if quota.gpus is None else str(quota.gpus))),
        ("Memory", _of(size(usage.memory), None if quota.memory is None else size(quota.memory))),
        ("CPU", _of(f"{usage.cpu:g}", None if quota.cpu is None else f"{quota.cpu:g}")),
    ]


def _of(held: str, limit: str | None) -> str:
    return held if limit is None else f"{'0' if held == '-' else held} of {limit}"
