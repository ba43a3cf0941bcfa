"""``register``, ``registry``: registered models and their versions. Aliases are in :mod:`modelyard.cli.aliases`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import REGISTRY, Cli, EverywhereOption, ReasonOption, command
from modelyard.cli.forecasts import value_text
from modelyard.cli.metadata import CardOption, numbers_of, text_of
from modelyard.cli.specs import pairs
from modelyard.cli.views import ago, pairs_table, size, table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from modelyard.client import Alias, ModelVersion, RegisteredModel, Verification

registry = typer.Typer(help="Look at registered models and their versions.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The registered model's name.", show_default=False)]
PickArgument = Annotated[
    str,
    typer.Argument(metavar="NAME[@VERSION]", help="The model, or a version: 1.4.2, ^1.4, stable.", show_default=False),
]
ExactArgument = Annotated[
    str, typer.Argument(metavar="NAME[@VERSION]", help="The model, or one of its versions.", show_default=False)
]
# So many versions are shown with their model.
_SHOWN = 10


def register(app: typer.Typer) -> None:
    command(app, "register", rich_help_panel=REGISTRY)(register_model)
    for name, function in (("list", list_models), ("show", show), ("versions", versions), ("diff", diff)):
        command(registry, name)(function)
    command(registry, "edit")(edit)
    command(registry, "delete")(delete)
    command(registry, "restore")(restore)
    app.add_typer(registry, name="registry", rich_help_panel=REGISTRY)


def register_model(
    cli: Cli,
    name: NameArgument,
    description: Annotated[str, typer.Option("--description", help="A few words.")] = "",
    series: Annotated[str, typer.Option("--series", help="The family that it belongs to.")] = "",
    task: Annotated[str, typer.Option("--task", help="What it is for.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Of its versions; an SPDX expression.")] = "",
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="To find it by.")] = None,
    reason: ReasonOption = "",
) -> None:
    """Register a model: a name under which versions are published."""
    made = cli.client.registry.register(
        name, description=description, series=series, task=task, licence=licence,
        labels=pairs(label or [], "--label"), reason=reason,
    )  # fmt: skip
    cli.show(made.raw, lambda: f"{made.name} is registered")


def list_models(
    cli: Cli,
    everywhere: EverywhereOption = False,
    search: Annotated[
        str | None, typer.Option("--search", help="Only with this in the name, description, series or a label.")
    ] = None,
    series: Annotated[str | None, typer.Option("--series", help="Only of this family.")] = None,
    framework: Annotated[str | None, typer.Option("--framework", help="Only with a version made with it.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only with this label.")
    ] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Only those that can be restored.")] = False,
    sort: Annotated[str | None, typer.Option("--sort", help="name, created_at or updated_at; -name descends.")] = None,
) -> None:
    """List registered models."""
    found = list(
        cli.client.registry.list(
            namespace="*" if everywhere else None, search=search, series=series, framework=framework,
            label=pairs(label or [], "--label"), deleted=deleted, sort=sort,
        )
    )  # fmt: skip
    if not found and not cli.is_plain:
        cli.say("No registered models here. Register one: modelyard register NAME")
        return
    cli.show([model.raw for model in found], lambda: _model_table(found, everywhere))


def show(cli: Cli, name: PickArgument) -> None:
    """A registered model with its aliases and newest versions; or one version, with all that is known of it."""
    name, pick = split_pick(name)
    shelf = cli.client.registry
    if pick is not None:
        version = shelf.resolve(name, pick)
        signed = shelf.verification(name, version.version)
        data = {**version.raw, "signed": signed.signed, "signatures": signed.raw["signatures"]}
        cli.show(data, lambda: _version_view(version, signed))
        return
    model, aliases = shelf.get(name), shelf.aliases(name)
    newest = list(islice(shelf.versions(name, page_size=_SHOWN), _SHOWN))
    data = {**model.raw, "aliases": [a.raw for a in aliases], "versions": [v.raw for v in newest]}
    cli.show(data, lambda: _model_view(model, aliases, newest))


def versions(
    cli: Cli,
    name: NameArgument,
    within: Annotated[str | None, typer.Option("--range", help="Only those in it: ^1.4, '>=1.2,<2'.")] = None,
    framework: Annotated[str | None, typer.Option("--framework", help="Only those made with it.")] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Only those that can be restored.")] = False,
) -> None:
    """List the versions of a registered model, the highest first."""
    shelf = cli.client.registry
    found = list(shelf.versions(name, range=within, framework=framework, deleted=deleted))
    cli.show([version.raw for version in found], lambda: _version_table(found, shelf.aliases(name)))


def diff(
    cli: Cli,
    name: NameArgument,
    before: Annotated[str, typer.Argument(metavar="A", help="A version, a range or an alias.", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="[B]", help="Another one; the latest if left out.")] = "latest",
) -> None:
    """What differs between two versions: what is said of them, their files and tensors, and what of the second must be
    fetched where the first is already."""
    from modelyard.cli.differing import diff_view

    found = cli.client.registry.diff(name, before, after)
    cli.show(found.raw, lambda: diff_view(name, found))


def edit(
    cli: Cli,
    name: PickArgument,
    description: Annotated[str | None, typer.Option("--description", help="A few words.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="To find it by; KEY= removes one.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME=NUMBER", help="What a version reaches; NAME= removes one."),
    ] = None,
    card: CardOption = None,
    series: Annotated[str | None, typer.Option("--series", help="The family that a model belongs to.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="What a model is for.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Of a model's versions from now on.")] = None,
    reason: ReasonOption = "",
) -> None:
    """Change what is said of a registered model, or of one version. What is not named stays as it is; what a version
    is never changes."""
    model, pick = split_pick(name)
    labels, metrics = _edited(label or (), "--label"), _edited(metric or (), "--metric")
    numbers = numbers_of([f"{key}={text}" for key, text in metrics.items() if text is not None])
    of_versions = {
        "metrics": {key: numbers.get(key) for key in metrics} or None, "card": text_of(card) if card else None,
    }  # fmt: skip
    of_models = {"series": series, "task": task, "licence": licence}
    of_others = of_versions if pick is None else of_models
    if other := [f"--{word.removesuffix('s') if word == 'metrics' else word}" for word, v in of_others.items() if v]:
        what = "of a version: name it (NAME@VERSION)" if pick is None else "of a model: leave the version out"
        raise typer.BadParameter(f"This is said {what}.", param_hint=", ".join(other))
    given = {"description": description, "labels": labels or None, **(of_models if pick is None else of_versions)}
    change = {key: value for key, value in given.items() if value is not None}
    if not change:
        raise typer.BadParameter("Say what to change: --description, --label, …")
    shelf = cli.client.registry
    after: RegisteredModel | ModelVersion
    if pick is None:
        after = shelf.describe(model, change, reason=reason)
        cli.show(after.raw, lambda: f"{model} is changed: {', '.join(change)}")
    else:
        number = shelf.resolve(model, pick).version
        after = shelf.annotate(model, number, change, reason=reason)
        cli.show(after.raw, lambda: f"{model}@{number} is changed: {', '.join(change)}")


def _edited(texts: Sequence[str], option: str) -> dict[str, str | None]:
    return {key: text or None for key, text in pairs(texts, option).items()}


def delete(
    cli: Cli,
    name: ExactArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    grace: Annotated[str | None, typer.Option("--grace", help="It can be restored for so long (default: 7d).")] = None,
    reason: ReasonOption = "",
) -> None:
    """Delete a registered model with all its versions, or one version. It can be restored for a while."""
    if not yes:
        import sys

        if not sys.stdin.isatty():
            raise typer.BadParameter("Nobody is here to be asked: give --yes.", param_hint="--yes")
        if not typer.confirm(f"Delete {name} from the registry of namespace {cli.client.namespace}?", err=True):
            raise typer.Exit(1)
    model, number = split_pick(name)
    shelf = cli.client.registry
    gone: RegisteredModel | ModelVersion
    if number is None:
        gone = shelf.delete(model, grace=grace, reason=reason)
    else:
        gone = shelf.delete_version(model, number, grace=grace, reason=reason)
    cli.show(gone.raw, lambda: f"{name} is deleted; it can be restored until {_moment(gone.purge_at)}")


def restore(cli: Cli, name: ExactArgument, reason: ReasonOption = "") -> None:
    """Bring back what was deleted."""
    model, number = split_pick(name)
    shelf = cli.client.registry
    back: RegisteredModel | ModelVersion
    if number is None:
        back = shelf.restore(model, reason=reason)
    else:
        back = shelf.restore_version(model, number, reason=reason)
    cli.show(back.raw, lambda: f"{name} is restored")


def split_pick(text: str) -> tuple[str, str | None]:
    """``NAME`` and what was picked of it, if anything. Raises typer.BadParameter where one of them is empty: a script's
    variable was, and what is meant is not for guessing."""
    name, at, pick = text.partition("@")
    if at and not (name and pick):
        what = "the version after the @" if name else "the name before the @"
        raise typer.BadParameter(f"{text!r} lacks {what}: write NAME@VERSION. Is a variable empty?")
    return name, pick if at else None


# ------------------------------------------------------------------------------------------- rendering


def _model_table(found: Iterable[RegisteredModel], everywhere: bool) -> Table:
    from rich.markup import escape

    made = table(*(["NAMESPACE"] if everywhere else []), "NAME", "LATEST", "SERIES", "TASK", "UPDATED", "MESSAGE")
    for one in found:
        deleted = f"[yellow]deleted[/], until {_moment(one.purge_at)}  " if one.deleted_at else ""
        made.add_row(
            *([one.namespace] if everywhere else []), one.name, one.latest or "-", one.series or "-",
            escape(one.task) or "-", ago(one.updated_at), deleted + escape(_first_line(one.description)),
        )  # fmt: skip
    return made


def _model_view(model: RegisteredModel, aliases: Sequence[Alias], newest: Sequence[ModelVersion]) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    rows = [("Model", f"[bold]{model.namespace}/{model.name}[/]")]
    if model.deleted_at is not None:
        rows.append(("Deleted", f"{ago(model.deleted_at)} ago; it can be restored until {_moment(model.purge_at)}"))
    about = (("Says", model.description), ("Series", model.series), ("Task", model.task), ("Licence", model.licence))
    rows += [(key, escape(text)) for key, text in about if text]
    if model.labels:
        rows.append(("Labels", escape(", ".join(f"{key}={value}" for key, value in model.labels.items()))))
    rows.append(("Updated", f"{ago(model.updated_at)} ago"))
    parts: list[RenderableType] = [pairs_table(rows), ""]
    return Group(*parts, _version_table(newest, aliases) if newest else "No version is published yet.")


def _version_table(found: Iterable[ModelVersion], aliases: Iterable[Alias]) -> Table:
    from rich.markup import escape

    pointing: dict[str, list[str]] = {}
    for alias in aliases:
        pointing.setdefault(alias.version, []).append(alias.alias)
    made = table("VERSION", "ALIASES", "FRAMEWORK", "SIZE", "FILES", "BY", "AGE", "MESSAGE")
    for one in found:
        made.add_row(
            one.version, ", ".join(pointing.get(one.version, [])) or "-", _framework(one), size(one.size),
            str(one.files), escape(one.published_by), ago(one.published_at),
            escape(_first_line(one.description) or one.reason),
        )  # fmt: skip
    return made


def signers(signed: Verification) -> str:
    """By whom a version is signed, in words."""
    good = [one.key for one in signed.signatures if one.valid and one.trusted]
    bad = [f"{one.key}: {one.problem}" for one in signed.signatures if not (one.valid and one.trusted)]
    words = f"signed by {', '.join(good)}" if good else "not signed"
    return words + (f" ({'; '.join(bad)})" if bad else "")


def _version_view(one: ModelVersion, signed: Verification) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape
    from rich.text import Text

    rows = [
        ("Version", f"[bold]{one.namespace}/{one.name}@{one.version}[/]"),
        ("Published", f"{_moment(one.published_at)} by {escape(one.published_by)}"),
        ("Bytes", f"{size(one.size)} in {one.files} {'file' if one.files == 1 else 'files'}"),
        ("Manifest", one.manifest),
        ("Signed", escape(signers(signed))),
    ]
    rows += [
        (key, escape(text))
        for key, text in (
            ("Reason", one.reason), ("Framework", _framework(one)), ("Licence", one.licence),
            ("Says", one.description), *((word.replace("_", " ").capitalize(), t) for word, t in one.lineage.items()),
            ("Needs", ", ".join(one.dependencies)), ("Trusted", ", ".join(one.trust)),
            ("Metrics", _listed(one.metrics)), ("Labels", _listed(one.labels)),
        )
        if text and text != "-"
    ]  # fmt: skip
    parts: list[RenderableType] = [pairs_table(rows)]
    tensors = [(side, tensor) for side in ("inputs", "outputs") for tensor in one.signature.get(side, [])]
    if tensors:
        made = table("TENSOR", "IS", "DATATYPE", "SHAPE")
        for side, tensor in tensors:
            shape = "×".join("any" if length == -1 else str(length) for length in tensor.get("shape", []))
            made.add_row(escape(str(tensor.get("name"))), side[:-1], str(tensor.get("datatype")), shape or "one value")
        parts += ["", made]
    if one.card:
        parts += ["", Text(one.card)]
    return Group(*parts)


def _framework(one: ModelVersion) -> str:
    return f"{one.framework.name} {one.framework.version}".strip() if one.framework else "-"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value_text(value)}" for key, value in values.items())


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at is not None else "-"
