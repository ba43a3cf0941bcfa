"""``audit``: who did what, to read, to export, and to verify, with a server or without one."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import SHARED, Cli, command
from modelyard.cli.problems import CliError
from modelyard.cli.views import ago, pairs_table, table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from modelyard.client import AuditEntry, AuditVerdict
    from modelyard.domain.audit import Verifier


audit = typer.Typer(help="See who did what, and whether the record is whole.", no_args_is_help=True)


def _filter(name: str, says: str) -> Any:
    return Annotated[str | None, typer.Option(name, help=says)]


_AT = "2030-01-01T08:00:00Z"
# What both commands that look for entries are given, as the client calls it.
_FILTERS: dict[str, Any] = {
    "actor": _filter("--actor", "Only what this one did: admin, key:ci, policy:nights."),
    "action": _filter("--action", "Only this, for example models.stop."),
    "target": _filter("--target", "Only what was done to this name."),
    "outcome": _filter("--outcome", "done, refused or failed."),
    "request": _filter("--request", "Only what the request with this id did."),
    "since": _filter("--since", f"From this time on: {_AT}."),
    "until": _filter("--until", f"Before this time: {_AT}."),
    "search": _filter("--search", "Part of the reason."),
}


def _filtered(function: Callable[..., None]) -> Callable[..., None]:
    """A command with the filters as options, which it gets together after the :class:`Cli`."""
    first, _, *own = inspect.signature(function, eval_str=True).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [inspect.Parameter(name, keyword, default=None, annotation=one) for name, one in _FILTERS.items()]

    @functools.wraps(function)
    def run(cli: Cli, **values: Any) -> None:
        function(cli, {name: values.pop(name) for name in _FILTERS}, **values)

    run.__signature__ = inspect.Signature([first, *options, *(p.replace(kind=keyword) for p in own)])  # type: ignore[attr-defined]
    return run


def register(app: typer.Typer) -> None:
    for name, function in (("list", list_entries), ("show", show), ("export", export), ("verify", verify)):
        command(audit, name)(function)
    app.add_typer(audit, name="audit", rich_help_panel=SHARED)


@_filtered
def list_entries(
    cli: Cli,
    wanted: dict[str, Any],
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 20,
) -> None:
    """Who did what, newest first; with --namespace only in that one, which its administrators may."""
    entries = cli.client.audit.list(namespace=cli.namespace, page_size=min(limit, 1000), **wanted)
    found = list(islice(entries, limit))
    cli.show([one.raw for one in found], lambda: _table(found))


def show(cli: Cli, number: Annotated[int, typer.Argument(metavar="NUMBER", help="Its number.", min=1)]) -> None:
    """Everything about one entry, with the change itself."""
    one = cli.client.audit.get(number)
    cli.show(one.raw, lambda: _view(one))


@_filtered
def export(
    cli: Cli,
    wanted: dict[str, Any],
    to: Annotated[Path | None, typer.Option("--to", help="A file (default: standard output).", dir_okay=False)] = None,
) -> None:
    """The record as lines of JSON, oldest first. Whole, it is a chain that `verify --file` checks without a server."""
    lines = cli.client.audit.export(namespace=cli.namespace, **wanted)
    if to is None:
        for line in lines:
            typer.echo(line)
        return
    count, last = 0, ""
    with to.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(f"{line}\n")
            count, last = count + 1, line
    head = f", up to {json.loads(last)['hash']}" if last else ""
    cli.say(f"{count} entries are in {to}{head}")


def verify(
    cli: Cli,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="An export to check, without a server.", exists=True, dir_okay=False),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option("--head", help="A hash that was noted earlier: the record must still hold it.", metavar="HASH"),
    ] = None,
    filtered: Annotated[
        bool, typer.Option("--filtered", help="The export was made with filters: entries may be missing between.")
    ] = False,
) -> None:
    """Check that no entry was changed, removed or put in; note the head that is shown, and compare it later."""
    if file is None:
        verdict = cli.client.audit.verify()
        if verdict.broken is not None:
            raise _broken(verdict.broken.number, verdict.broken.why, verdict.entries)
        if head is not None and head != verdict.head.hash:
            _find(cli.client.audit.export(), head)
        cli.show(verdict.raw, lambda: _said(verdict))
        return
    verifier, first = _verified(file, gaps=filtered, head=head)
    if first is None:
        raise CliError(f"There is no entry in {file}.", hint="Export the record again: `modelyard audit export`.")
    last = verifier.last
    data = {
        "whole": True, "entries": verifier.entries, "first": first,
        "head": None if last is None else {"number": last.number, "hash": last.hash},
    }  # fmt: skip
    reached = f" up to {last.number}, whose hash is {last.hash}" if last is not None else ""
    what = "Each of the" if filtered else "The"
    # A file that lacks its beginning is a chain all the same: only the server knows what it still keeps.
    begins = (
        f"\nThey begin with entry {first}: `modelyard audit verify` says from which one on the record is kept."
        if first > 1 and not filtered else ""
    )  # fmt: skip
    cli.show(data, lambda: f"{what} {verifier.entries} entries in {file} are as they were written{reached}.{begins}")


def _verified(file: Path, *, gaps: bool, head: str | None) -> tuple[Verifier, int | None]:
    """With the number of the first entry; None: there is none."""
    from modelyard.domain.audit import Verifier

    verifier, seen, first = Verifier(None, gaps=gaps), False, None
    with file.open(encoding="utf-8") as lines:
        for document in _documents(lines):
            verifier.feed([document])
            first = document.get("number") if first is None else first
            seen = seen or document.get("hash") == head
            if verifier.broken is not None:
                raise _broken(verifier.broken.number, verifier.broken.why, verifier.entries)
    if head is not None and not seen:
        raise _no_head(head)
    return verifier, first


def _documents(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            document = None
        # What is none is broken, which the verifier says.
        yield document if isinstance(document, dict) else {}


def _find(lines: Iterable[str], head: str) -> None:
    if all(document.get("hash") != head for document in _documents(lines)):
        raise _no_head(head)


def _broken(number: int, why: str, whole: int) -> CliError:
    return CliError(
        f"The record is broken at entry {number}: {why}.",
        hint=f"The {whole} entries before are whole. Compare with an earlier export or a backup of the database.",
    )


def _no_head(head: str) -> CliError:
    return CliError(
        f"No entry has the hash {head}: what was recorded up to there was changed or removed.",
        hint="Compare with the export that was made then. Retention (MODELYARD_AUDIT_DAYS) removes entries, too.",
    )


# ------------------------------------------------------------------------------------------- rendering


def _said(verdict: AuditVerdict) -> str:
    kept = verdict.kept_from.number
    since = f" It is kept from entry {kept + 1} on: retention removed what was before." if kept else ""
    head = f"Its head is entry {verdict.head.number}: {verdict.head.hash}"
    return f"The record is whole: {verdict.entries} entries.{since}\n{head}"


def _table(found: Iterable[AuditEntry]) -> Table:
    from rich.markup import escape

    made = table("NUMBER", "AGE", "WHO", "ACTION", "TARGET", "OUTCOME", "REASON", wrap=("REASON",))
    for one in found:
        made.add_row(
            str(one.number), ago(one.at), escape(one.actor) or "unknown", escape(one.action), escape(_target(one)),
            _outcome(one), escape(one.reason),
        )  # fmt: skip
    return made


def _view(one: AuditEntry) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    rows = [
        ("Number", str(one.number)), ("At", f"{one.at:%Y-%m-%d %H:%M:%S} UTC"),
        ("Who", f"{one.actor or 'unknown'} ({one.actor_kind})"), ("Action", one.action),
        ("Target", f"{one.kind} {_target(one)}".strip()), ("Outcome", _outcome(one)), ("Reason", one.reason or "-"),
        ("From", " ".join(filter(None, (one.address, one.client))) or "-"), ("Request", one.request or "-"),
        ("Hash", one.hash),
    ]  # fmt: skip
    change = json.dumps(one.change, indent=2, ensure_ascii=False)
    return Group(pairs_table([(name, escape(value)) for name, value in rows]), "", escape(change))


def _target(one: AuditEntry) -> str:
    return "/".join(filter(None, (one.namespace, one.name))) or "-"


def _outcome(one: AuditEntry) -> str:
    return one.outcome if not one.code else f"{one.outcome} ({one.code})"
