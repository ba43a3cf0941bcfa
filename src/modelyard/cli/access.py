"""``whoami``, ``members``, ``api-keys``: who may do what, and the keys by which programs come in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.context import SHARED, Cli, ReasonOption, command
from modelyard.cli.views import ago, table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from modelyard.client import ApiKey, Me, Member, NewApiKey

members = typer.Typer(help="Who may do what in a namespace.", no_args_is_help=True)
api_keys = typer.Typer(help="Keys by which programs use Modelyard.", no_args_is_help=True)

_ROLES = "viewer, user, operator, editor or administrator: each may all that the one before may."
RoleOption = Annotated[str, typer.Option("--role", help=_ROLES, show_default=False)]
ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="PATTERN", help="Only for models whose names match it (* and ?); repeatable."),
]
AllOption = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help="For all namespaces instead of this one.")
]  # fmt: skip
MemberArgument = Annotated[
    str,
    typer.Argument(metavar="MEMBER", help="An e-mail address, group:NAME or subject:NAME.", show_default=False),
]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The key's name or id.", show_default=False)]


def register(app: typer.Typer) -> None:
    command(app, "whoami", rich_help_panel=SHARED)(whoami)
    for name, function in (("list", list_members), ("add", add), ("remove", remove)):
        command(members, name)(function)
    command(api_keys, "create")(create)
    command(api_keys, "list")(list_keys)
    command(api_keys, "rotate")(rotate)
    command(api_keys, "revoke")(revoke)
    app.add_typer(members, name="members", rich_help_panel=SHARED)
    app.add_typer(api_keys, name="api-keys", rich_help_panel=SHARED)


def whoami(cli: Cli) -> None:
    """Say who the server takes you for, and what you may do where."""
    me = cli.client.me()
    cli.show(me.raw, lambda: _me_view(me))


# ------------------------------------------------------------------------------------------- members


def list_members(cli: Cli, all_namespaces: AllOption = False) -> None:
    """List the members of the namespace."""
    found = cli.client.members.list(namespace=_where(all_namespaces))
    cli.show([one.raw for one in found], lambda: _member_table(found))


def add(
    cli: Cli,
    member: MemberArgument,
    role: RoleOption,
    model: ModelOption = None,
    all_namespaces: AllOption = False,
    reason: ReasonOption = "",
) -> None:
    """Give somebody a role, instead of the one that they have as this member."""
    put = cli.client.members.put(
        member, role, models=model or (), namespace=_where(all_namespaces), reason=reason
    )  # fmt: skip
    cli.show(put.raw, lambda: f"{put.member} is {put.role} in {_called(put.namespace)}")


def remove(cli: Cli, member: MemberArgument, all_namespaces: AllOption = False, reason: ReasonOption = "") -> None:
    """Take a member's role away, at once. Keys that it has made stay."""
    cli.client.members.remove(member, namespace=_where(all_namespaces), reason=reason)
    cli.say(f"{member} is no member any more")


# ------------------------------------------------------------------------------------------- keys


def create(
    cli: Cli,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.", show_default=False)],
    role: RoleOption,
    model: ModelOption = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="It also sees models of this group; repeatable.")
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Requests to models a second, at most.")] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DURATION", help="For so long it works, such as 90d.")
    ] = None,
    all_namespaces: AllOption = False,
    reason: ReasonOption = "",
) -> None:
    """Make an API key. It is shown this once: give it to the program as MODELYARD_TOKEN."""
    from datetime import timedelta

    from modelyard.domain.quantities import parse_duration

    ends = None
    if expires is not None:
        try:
            ends = datetime.now(UTC) + timedelta(seconds=parse_duration(expires))
        except (ValueError, OverflowError) as error:
            raise typer.BadParameter(str(error), param_hint="--expires") from None
    made = cli.client.api_keys.create(
        name, role, models=model or (), groups=group or (), rate=None if rate is None else {"per_second": rate},
        expires_at=ends, namespace=_where(all_namespaces), reason=reason,
    )  # fmt: skip
    cli.show(made.raw, lambda: _told_once(made))


def list_keys(cli: Cli, all_namespaces: AllOption = False) -> None:
    """List the keys, ended ones too."""
    found = cli.client.api_keys.list(namespace=_where(all_namespaces))
    cli.show([key.raw for key in found], lambda: _key_table(found))


def rotate(
    cli: Cli,
    key: KeyArgument,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="DURATION", help="For so long the one before works too.")
    ] = "1h",
    all_namespaces: AllOption = False,
) -> None:
    """Give a key another secret, which is shown this once."""
    namespace = _where(all_namespaces)
    made = cli.client.api_keys.rotate(_id_of(cli, key, namespace), overlap=overlap, namespace=namespace)
    cli.show(made.raw, lambda: f"{_told_once(made)} {_before(made)}")


def revoke(cli: Cli, key: KeyArgument, all_namespaces: AllOption = False, reason: ReasonOption = "") -> None:
    """End a key, at once and for good."""
    namespace = _where(all_namespaces)
    revoked = cli.client.api_keys.revoke(_id_of(cli, key, namespace), namespace=namespace, reason=reason)
    cli.show(revoked.raw, lambda: f"{revoked.name} ({revoked.id}) is revoked")


# ------------------------------------------------------------------------------------------- helpers


def _where(all_namespaces: bool) -> str | None:
    return "*" if all_namespaces else None


def _called(namespace: str) -> str:
    return "all namespaces" if namespace == "*" else f"namespace {namespace}"


def _id_of(cli: Cli, text: str, namespace: str | None) -> str:
    """Of the key that is called so and works, or else the text itself."""
    found = [k.id for k in cli.client.api_keys.list(namespace=namespace) if k.name == text and k.revoked_at is None]
    return found[0] if found else text


def _told_once(key: NewApiKey) -> str:
    return (
        f"{key.secret}\nThis is the key {key.name} ({key.id}): {key.role} in {_called(key.namespace)}. It is not shown "
        "again."
    )


def _before(key: ApiKey) -> str:
    """Until when the secret before the last rotation works."""
    until = key.previous_until
    return "The one before works no more." if until is None else f"The one before works until {_minute(until)}."


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _models(patterns: Sequence[str]) -> str:
    return ", ".join(patterns) or "[dim]all[/]"


def _me_view(me: Me) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    made = table("NAMESPACE", "ROLE", "MAY", "MODELS")
    for grant in me.grants:
        made.add_row(grant.namespace, grant.role, ", ".join(grant.permissions), _models(grant.models))
    groups = [f"Your groups: {escape(', '.join(me.groups))}"] if me.groups else []
    return Group(f"You are {escape(me.name)} ({me.kind}).", *groups, made)


def _member_table(found: Sequence[Member]) -> Table:
    from rich.markup import escape

    made = table("MEMBER", "ROLE", "MODELS", "ADDED", "BY", "REASON")
    for one in found:
        added = f"{ago(one.added_at)} ago" if one.added_at else ""
        made.add_row(
            escape(one.member), one.role, _models(one.models), added, escape(one.added_by), escape(one.reason)
        )  # fmt: skip
    return made


def _key_table(found: Sequence[ApiKey]) -> Table:
    from rich.markup import escape

    made = table("KEY", "ID", "ROLE", "MODELS", "CREATED", "BY", "LAST USE", "ENDS")
    now = datetime.now(UTC)
    for key in found:
        used = f"{ago(key.last_used_at)} ago" if key.last_used_at else "[dim]never[/]"
        ends = "[dim]never[/]" if key.expires_at is None else _minute(key.expires_at)
        if key.revoked_at is not None:
            ends = "[yellow]revoked[/]"
        elif key.expires_at is not None and key.expires_at <= now:
            ends = f"[yellow]expired[/] {_minute(key.expires_at)}"
        if key.revoked_at is None and key.previous_until is not None and key.previous_until > now:
            ends += f"; its secret before {_minute(key.previous_until)}"
        created = f"{ago(key.created_at)} ago"
        made.add_row(key.name, key.id, key.role, _models(key.models), created, escape(key.created_by), used, ends)
    return made
