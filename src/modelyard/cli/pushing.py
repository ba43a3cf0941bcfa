"""``push``: files, from here or elsewhere, become a version. What is said of it comes from the command line, from the
folder's ``model.yaml`` (:mod:`modelyard.cli.projects`) and, of a single ONNX model, from its own file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import REGISTRY, Cli, ReasonOption, command
from modelyard.cli.metadata import (
    AliasOption,
    AllowCodeOption,
    AllowPickleOption,
    BumpOption,
    CardOption,
    DatasetOption,
    DescriptionOption,
    ExcludeOption,
    FrameworkOption,
    IncludeOption,
    LabelOption,
    LicenceOption,
    MetricOption,
    ParentOption,
    RevisionOption,
    RunOption,
    check_about,
    check_names,
    framework_of,
    numbers_of,
    text_of,
)
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.progress import moving, resumable
from modelyard.cli.projects import PROJECT, Project, project_of, said_by
from modelyard.cli.registry import split_pick
from modelyard.cli.specs import pairs, pruned
from modelyard.cli.stores import registry_errors, store_of
from modelyard.domain.quantities import rounded_bytes

if TYPE_CHECKING:
    from modelyard.client import ModelVersion, RegisteredModel
    from modelyard.registry.content.pushing import Pushed
    from modelyard.registry.content.storage import Storage
    from modelyard.registry.importing import Source

_LEAVE_OUT = "--exclude PATTERN leaves files out, --include PATTERN names those that are wanted."
# By the code of what is wrong with a file.
_TRUST = {
    "code_refused": "--allow-code lets source code be in it.",
    **dict.fromkeys(
        ("pickle_refused", "program_refused", "untrusted_types"),
        "--allow-pickle lets files be in it that run code when they are loaded, if you trust them.",
    ),
}
# Others may take so many numbers, less one, while this one is being stored.
_TRIES = 5
# So many lower versions a new one is compared with.
_LOWER = 2


def register(app: typer.Typer) -> None:
    command(app, "push", rich_help_panel=REGISTRY)(push)


def push(
    cli: Cli,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file, a folder, a .zip, .tar or .tar.gz; or an address: https://, s3://, gs://, "
            "az://, hf://, mlflow://, oci://, registry://.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME[@VERSION]]",
            help="The model and the new version's number (default: what the folder's model.yaml says).",
            show_default=False,
        ),
    ] = None,
    bump: BumpOption = None,
    alias: AliasOption = None,
    framework: FrameworkOption = None,
    metric: MetricOption = None,
    label: LabelOption = None,
    parent: ParentOption = "",
    dataset: DatasetOption = "",
    run: RunOption = "",
    revision: RevisionOption = "",
    licence: LicenceOption = "",
    card: CardOption = None,
    description: DescriptionOption = "",
    allow_code: AllowCodeOption = False,
    allow_pickle: AllowPickleOption = False,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    compress: Annotated[
        bool, typer.Option("--compress", help="Keep a compressed form too, of what compresses: for slow lines.")
    ] = False,
    origin: Annotated[
        str | None,
        typer.Option(
            "--source", help="Where the files come from (default: the address; '' says nothing).", show_default=False
        ),
    ] = None,
    reason: ReasonOption = "",
) -> None:
    """Store files as a new version of a registered model. What earlier versions have already is not stored again."""
    from modelyard.cli.hidden import picking_of
    from modelyard.domain.registry_rules import MAX_SOURCE
    from modelyard.registry.importing import Trust, brought

    project = project_of(source)
    model, number = _called(name, bump, project)
    aliases = tuple(alias or (project.aliases if project else ()))
    # All that can be wrong with the command is said before a large file is read for it.
    check_names(model, number, bump, aliases)
    _check_source(source, origin)
    card = card or (project.card if project else None)
    trusted = {"code": allow_code, "pickle": allow_pickle}
    given: dict[str, Any] = pruned({
        "framework": framework_of(framework), "metrics": numbers_of(metric or ()),
        "labels": pairs(label or [], "--label"),
        "lineage": {
            key: value or None for key, value in
            {"parent": parent, "dataset": dataset, "training_run": run, "code_revision": revision}.items()
        },
        "licence": licence or None, "description": description or None, "card": text_of(card) if card else None,
        "trust": [word for word, is_given in trusted.items() if is_given or (project and word in project.trust)],
    })  # fmt: skip
    about = _merged(project.about if project else {}, given)
    check_about(about)
    registered = _registered(cli, model)
    number = number or _next(registered, bump or "")
    there = _version_there(cli, model, number) if registered else None
    storage, _ = store_of(cli)
    shelf = cli.client.registry
    left_out = (*(exclude or ()), *(project.exclude if project else ()))
    picking = picking_of(source, include or (), left_out)
    trust = Trust(**{word: word in about.get("trust", ()) for word in trusted})
    with (
        resumable(cli),
        registry_errors("These files make no version.", hint=_LEAVE_OUT, hints=_TRUST),
        # What was fetched stays until it is published.
        brought(source, trust, lambda text: moving(cli, text), cli.say, picking) as files,
    ):  # fmt: skip
        _check_alike(f"{model}@{number}", there, files)
        like = _alike(cli, model, number, about.get("lineage", {}).get("parent", "")) if registered else []
        # Its own parts are where they are, if it is there already.
        like += [there.manifest] if there else []
        pushed = _pushed(cli, f"{model}@{number}", files, storage, like, compress)
        ensure_registered(cli, model, reason)
        if origin is None:
            # The same bytes may come from elsewhere, to mend a version: it keeps what it says.
            is_same = there is not None and there.manifest == pushed.manifest
            origin = there.lineage.get("source", "") if there and is_same else files.origin[:MAX_SOURCE]
        about = _merged({**_said(files), **about}, {"lineage": {"source": origin}})
        version = _published(cli, model, number, bump, manifest=pushed.manifest, reason=reason, **about)
    number = version.version
    for one in aliases:
        shelf.set_alias(model, one, number, reason=reason)
    if there is not None and (there.version, there.manifest) == (number, pushed.manifest):
        cli.say(f"{model}@{number} was published already{_again(pushed, aliases)}")
    else:
        cli.say(f"{model}@{number} is published: {_amount(pushed)}")
    if cli.is_plain:
        cli.show({**version.raw, "written": pushed.written}, lambda: "")


# ------------------------------------------------------------------------------------------- helpers


def _called(name: str | None, bump: str | None, project: Project | None) -> tuple[str, str | None]:
    """The model, and the version's number if it is known. Raises typer.BadParameter."""
    if name is None and project is None:
        message = f"Say what this is a version of: NAME@VERSION, or in a {PROJECT} of the folder (modelyard init)."
        raise typer.BadParameter(message, param_hint="NAME")
    model, number = split_pick(name) if name is not None else ("", None)
    if project is None:
        return model, number
    return model or project.name, number or (project.version if bump is None else None)


def _check_source(source: str, origin: str | None) -> None:
    """Raises CliError with what is wrong with where the files are, and with what is to be said of that."""
    from modelyard.domain.registry_rules import source_complaint
    from modelyard.registry.sources.address import parse

    with registry_errors("There is no such source."):
        parse(source)
    if origin is not None and (wrong := source_complaint(origin)):
        raise typer.BadParameter(wrong, param_hint="--source")


def _registered(cli: Cli, model: str) -> RegisteredModel | None:
    """The model, if it is there. Raises CliError for one that is deleted, or could not be made."""
    from modelyard.client import NotFound

    try:
        found = cli.client.registry.get(model)
    except NotFound:
        _check_namespace(cli)
        return None
    if found.deleted_at is not None:
        raise _deleted(model)
    return found


def _check_namespace(cli: Cli) -> None:
    from modelyard.client import NotFound

    namespace = cli.client.namespace
    try:
        cli.client.namespaces.get(namespace)
    except NotFound as error:
        hint = f"Make it first: `modelyard namespace create {namespace}`."
        raise CliError(f"There is no namespace {namespace}.", hint=hint, exit_code=ExitCode.NOT_FOUND) from error


def _check_alike(what: str, there: ModelVersion | None, files: Source) -> None:
    """Raises CliError where the number stands for other files already, as far as that is seen before they are read."""
    if there is None or (int(there.size), there.files) == (files.size, len(files.found)):
        return
    raise CliError(
        f"{what} is published already, with other files: {rounded_bytes(int(there.size))} in {there.files} file(s), "
        f"and these are {rounded_bytes(files.size)} in {len(files.found)}.",
        hint="Published versions never change: publish these under the next number (--bump patch).",
        exit_code=ExitCode.REFUSED,
    )


def _version_there(cli: Cli, model: str, number: str) -> ModelVersion | None:
    """The version that is published under the number: the same may be pushed again. Raises CliError for one that is
    deleted."""
    from modelyard.client import NotFound

    try:
        found = cli.client.registry.version(model, number)
    except NotFound:
        return None
    if found.deleted_at is not None:
        raise _deleted(f"{model}@{number}")
    return found


def _deleted(what: str) -> CliError:
    message = f"{what} is deleted, and nothing else can be published in its place."
    return CliError(message, hint=f"`modelyard registry restore {what}` brings it back.", exit_code=ExitCode.REFUSED)


def _pushed(cli: Cli, what: str, files: Source, storage: Storage, like: Sequence[str], compress: bool) -> Pushed:
    with moving(cli, f"Pushing {what}") as progress:
        # Each byte is read twice, to be hashed and to be stored.
        return files.push(
            storage, like=like, compress=compress, progress=lambda done, total: progress(done // 2, total // 2)
        )


def _said(files: Source) -> dict[str, Any]:
    """What the files say themselves, if they are one model."""
    models = [file.path for file in files.found if file.kind == "onnx"]
    return said_by(files.root / models[0]) if len(models) == 1 else {}


def _merged(about: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a project says, and before it what was given; of mappings, each key of them."""
    merged = dict(about)
    for key, value in given.items():
        is_open = key in ("labels", "metrics", "lineage")
        merged[key] = {**merged.get(key, {}), **value} if is_open else value
    return merged


def ensure_registered(cli: Cli, model: str, reason: str) -> None:
    """Register the model, if it is not there."""
    from modelyard.client import NotFound, Refused

    shelf = cli.client.registry
    try:
        shelf.get(model)
    except NotFound:
        try:
            shelf.register(model, reason=reason)
        except Refused as error:
            if error.code == "already_exists":  # by somebody who pushes at the same time
                return
            raise
        cli.say(f"{model} is registered")


def _alike(cli: Cli, model: str, number: str, parent: str) -> list[str]:
    """The manifests of the versions with which a new one may have most in common."""
    from modelyard.client import NotFound

    shelf = cli.client.registry
    found: list[ModelVersion] = []
    # What it was made of is told from in the fewest bytes.
    of, _, version = parent.rpartition("@")
    if version:
        with suppress(NotFound):
            found.append(shelf.version(of or model, version))
    found += islice(shelf.versions(model, range=f"<{number}", page_size=_LOWER), _LOWER)
    found += islice(shelf.versions(model, page_size=1), 1)
    return list(dict.fromkeys(one.manifest for one in found))


def _next(registered: RegisteredModel | None, bump: str) -> str:
    """The number after the latest one."""
    from modelyard.domain.versions import parse_version

    latest = registered.latest if registered else None
    return str(parse_version(latest or "0.0.0").bumped(bump))


def _published(cli: Cli, model: str, number: str, bump: str | None, **said: Any) -> ModelVersion:
    """With ``bump`` under another number, if somebody else was faster: what is stored is so under any."""
    from modelyard.client import Refused
    from modelyard.domain.versions import parse_version

    shelf = cli.client.registry
    for tries_left in reversed(range(_TRIES)):
        try:
            return shelf.publish(model, number, **said)
        except Refused as error:
            if bump is None or error.code != "version_exists" or not tries_left:
                raise
            after = _next(shelf.get(model), bump)
            # One that was deleted keeps its number, and is no longer the latest.
            number = str(parse_version(number).bumped(bump)) if after == number else after
    raise AssertionError("the last try returns or raises")


def _again(pushed: Pushed, aliases: Sequence[str]) -> str:
    changed = [f"{rounded_bytes(pushed.written)} of it was written anew"] if pushed.written else []
    changed += [f"{alias} points at it" for alias in aliases]
    return f"; {', '.join(changed)}" if changed else ", and nothing changed"


def _amount(pushed: Pushed) -> str:
    fresh = pushed.written - pushed.shortcuts
    new = f"{rounded_bytes(fresh)} of it new" if fresh < pushed.size else "all of it new"
    return f"{rounded_bytes(pushed.size)} in {pushed.files} file(s), {new}"
