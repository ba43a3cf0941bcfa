"""``push``, ``pull``, ``verify``, ``gc``, ``cleanup``: the bytes of registered versions.

They are read and written here, in this process, with the store itself; the server only learns what was published.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from modelyard.cli.context import REGISTRY, Cli, DryRunOption, ReasonOption, command
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.progress import moving
from modelyard.cli.registry import split_pick
from modelyard.cli.specs import pairs
from modelyard.cli.views import amount

if TYPE_CHECKING:
    from modelyard.client import ModelVersion, RegisteredModel
    from modelyard.client.registry_types import RegistryStore
    from modelyard.registry.content.pushing import Pushed
    from modelyard.registry.content.storage import Folder
    from modelyard.registry.importing import Source

VersionArgument = Annotated[
    str,
    typer.Argument(metavar="NAME[@VERSION]", help="What to get: 1.4.2, ^1.4, stable (default: latest).",
                   show_default=False),
]  # fmt: skip
_PARTS = ("major", "minor", "patch")
# So many lower versions a new one is compared with.
_LOWER = 2


def register(app: typer.Typer) -> None:
    for name, function in (("push", push), ("pull", pull), ("verify", verify), ("gc", collect), ("cleanup", clean_up)):
        command(app, name, rich_help_panel=REGISTRY)(function)
    # What other registries call it.
    command(app, "download", rich_help_panel=REGISTRY, hidden=True)(pull)


def push(
    cli: Cli,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A file, a folder, or a .zip, .tar or .tar.gz.", show_default=False)
    ],
    name: Annotated[
        str,
        typer.Argument(metavar="NAME[@VERSION]", help="The model and the new version's number.", show_default=False),
    ],
    bump: Annotated[
        str | None, typer.Option("--bump", metavar="PART", help="major, minor or patch: the number after the latest.")
    ] = None,
    alias: Annotated[
        list[str] | None, typer.Option("--alias", help="Have this alias point at it (stable, experimental, …).")
    ] = None,
    framework: Annotated[
        str | None, typer.Option("--framework", metavar="NAME[:VERSION]", help="What it was made with.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", metavar="NAME=NUMBER", help="What it reaches.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="To find it by.")] = None,
    parent: Annotated[str, typer.Option("--parent", help="The version that it was made of.")] = "",
    dataset: Annotated[str, typer.Option("--dataset", help="What it was trained on.")] = "",
    run: Annotated[str, typer.Option("--run", help="The training run.")] = "",
    revision: Annotated[str, typer.Option("--revision", help="The revision of the code that trained it.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="If not the model's; an SPDX expression.")] = "",
    card: Annotated[
        Path | None, typer.Option("--card", help="The model card: a Markdown file.", exists=True, dir_okay=False)
    ] = None,
    description: Annotated[str, typer.Option("--description", help="A few words.")] = "",
    allow_code: Annotated[bool, typer.Option("--allow-code", help="Source code may be in it (model.py).")] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Files that run code when they are loaded may be: you trust them.")
    ] = False,
    reason: ReasonOption = "",
) -> None:
    """Store files as a new version of a registered model. What earlier versions have already is not stored again."""
    from modelyard.registry.importing import Trust, opened

    model, number = split_pick(name)
    # All that can be wrong with the command is said before a large file is read for it.
    _check_names(model, number, bump, alias or ())
    about: dict[str, Any] = {
        "framework": _framework(framework), "metrics": _numbers(metric or ()), "labels": pairs(label or [], "--label"),
        "lineage": {"parent": parent, "dataset": dataset, "training_run": run, "code_revision": revision},
        "licence": licence, "description": description, "card": _text_of(card) if card else "",
        "trust": [word for word, given in (("code", allow_code), ("pickle", allow_pickle)) if given],
    }  # fmt: skip
    registered = _registered(cli, model)
    number = number or _next(registered, bump or "")
    there = _version_there(cli, model, number) if registered else None
    storage = _folder(cli.client.registry.store())
    with (
        _registry_errors("These files make no version."),
        opened(source, Trust(code=allow_code, pickle=allow_pickle), cli.say) as files,
    ):
        like = _alike(cli, model, number, parent) if registered else []
        # Its own parts are where they are, if it is there already.
        pushed = _pushed(cli, f"{model}@{number}", files, storage, [*like, *([there.manifest] if there else [])])
    _ensure_registered(cli, model, reason)
    shelf = cli.client.registry
    version = shelf.publish(model, number, manifest=pushed.manifest, reason=reason, **about)
    for one in alias or ():
        shelf.set_alias(model, one, number, reason=reason)
    cli.say(f"{model}@{number} is published: {_amount(pushed)}")
    if cli.is_plain:
        cli.show({**version.raw, "written": pushed.written}, lambda: "")


def pull(
    cli: Cli,
    name: VersionArgument,
    to: Annotated[
        Path | None, typer.Option("--to", help="The folder (default: NAME-VERSION here).", file_okay=False)
    ] = None,
    version: Annotated[str | None, typer.Option("--version", help="Instead of @VERSION.")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files that are there and differ.")] = False,
) -> None:
    """Have the files of a version in a folder. What is there already is not fetched again."""
    from modelyard.registry.content.pulling import pull as fetch

    model, pick = split_pick(name)
    if version is not None and pick is not None:
        raise typer.BadParameter("Give the version once.", param_hint="--version")
    found = cli.client.registry.resolve(model, version or pick or "latest")
    folder = to if to is not None else Path(f"{model}-{found.version}")
    storage = _folder(cli.client.registry.store())
    with _registry_errors(f"{folder} has other files."), moving(cli, f"Pulling {model}@{found.version}") as progress:
        pulled = fetch(storage, found.manifest, folder, overwrite=force, progress=progress)
    fresh = "all there already" if not pulled.written else f"{amount(pulled.written)} written"
    cli.say(f"{model}@{found.version} is in {folder}: {amount(pulled.size)} in {pulled.files} file(s), {fresh}")
    if cli.is_plain:
        cli.show({**found.raw, "folder": str(folder.resolve()), "written": pulled.written}, lambda: "")


def verify(cli: Cli, name: VersionArgument) -> None:
    """Read every byte of a version again, in the store and where this machine serves it from, and compare it with what
    was pushed."""
    from modelyard.registry.content.cache import Cache
    from modelyard.registry.content.verifying import verify_laid_out, verify_stored

    model, pick = split_pick(name)
    found = cli.client.registry.resolve(model, pick or "latest")
    place = cli.client.registry.store()
    storage = _folder(place)
    with _registry_errors():
        stored = verify_stored(storage, found.manifest)
        laid_out = verify_laid_out(Cache(Path(place.cache), storage), storage, found.manifest)
    what, damages = f"{model}@{found.version}", (*stored, *laid_out)
    if cli.is_plain:
        items = {"damaged": [asdict(d) for d in stored], "laid_out": [asdict(d) for d in laid_out]}
        cli.show({"version": found.version, "manifest": found.manifest, **items}, lambda: "")
    elif not damages:
        cli.say(f"{what} is whole: {found.files} file(s)")
    if damages:
        lines = "\n".join(f"{d.where or found.manifest}: {d.reason} ({', '.join(d.files)})" for d in damages)
        hints = []
        if stored:
            hints.append(f"Push the same files as {what} again: what is damaged in the store is then written anew.")
        if laid_out:
            hints.append(
                "What was laid out to be served is gone, and made anew when it is next needed: restart what serves it."
            )
        raise CliError(f"{what} is damaged in {len(damages)} place(s).", log=lines, hint=" ".join(hints))


def collect(
    cli: Cli,
    grace: Annotated[
        str | None, typer.Option("--grace", help="Leave what is younger: a push may be under way (default: 24h).")
    ] = None,
    dry_run: DryRunOption = False,
) -> None:
    """Remove bytes from the store that no version names any more."""
    done = cli.client.registry.collect(grace=grace, dry_run=dry_run)
    would = "would be " if dry_run else ""
    text = f"{done.removed} object(s) {would}removed, {amount(done.freed)} {would}freed; {done.kept} are in use"
    young = f", {done.young} are too young to go" if done.young else ""
    cache = f"; {amount(done.cache.freed)} of the cache {would}freed" if done.cache.removed else ""
    cli.show(done.raw, lambda: text + young + cache)


def clean_up(
    cli: Cli,
    gigabytes: Annotated[
        float | None,
        typer.Option("--max-size-gb", min=0, help="What the cache is to be at most (default: MODELYARD_CACHE_SIZE)."),
    ] = None,
    dry_run: DryRunOption = False,
) -> None:
    """Make the cache of registered models' files smaller: the longest unused go first, none that are served."""
    limit = None if gigabytes is None else int(gigabytes * 10**9)
    done = cli.client.registry.clean_up(limit, dry_run=dry_run)
    would = "would be " if dry_run else ""
    text = f"{done.removed} version(s) {would}removed from the cache, {amount(done.freed)} {would}freed"
    cli.show(done.raw, lambda: f"{text}; {amount(done.size)} in {done.folders} version(s) are left")


# ------------------------------------------------------------------------------------------- helpers


def _folder(place: RegistryStore) -> Folder:
    """The server's store. Raises CliError where it cannot be reached from here."""
    from modelyard.registry.content.storage import Folder

    parts = urlsplit(place.url)
    folder = Folder(Path(unquote(parts.path)))
    with _registry_errors():
        # Another machine may have a folder of this name too.
        if parts.scheme == "file" and folder.has_identity(place.id):
            return folder
    raise CliError(f"The registry's store is on the machine that Modelyard runs on, in {place.url}: run this there.")


def _check_names(model: str, number: str | None, bump: str | None, aliases: Sequence[str]) -> None:
    """Raises typer.BadParameter and, of what the server would refuse too, CliError."""
    from modelyard.domain.names import name_problem
    from modelyard.domain.registry import LATEST
    from modelyard.domain.registry_rules import alias_complaint, version_complaint

    if number is None and bump not in _PARTS:
        raise typer.BadParameter(f"Say which version this is: {model}@1.0.0, or --bump {', '.join(_PARTS)}.")
    if number is not None and bump is not None:
        raise typer.BadParameter(f"The number is {number} already.", param_hint="--bump")
    problem = name_problem("name", model)
    complaints = [problem.message if problem else None, None if number is None else version_complaint(number)]
    for alias in aliases:
        kept = f"The alias {LATEST!r} is kept by the registry: it is the newest release."
        complaints.append(kept if alias == LATEST else alias_complaint(alias))
    if wrong := [complaint for complaint in complaints if complaint]:
        raise CliError("This makes no version.", log="\n".join(wrong), exit_code=ExitCode.INVALID)


def _registered(cli: Cli, model: str) -> RegisteredModel | None:
    """The model, if it is there. Raises CliError for one that is deleted."""
    from modelyard.client import NotFound

    try:
        found = cli.client.registry.get(model)
    except NotFound:
        return None
    if found.deleted_at is not None:
        raise _deleted(model)
    return found


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


def _pushed(cli: Cli, what: str, files: Source, storage: Folder, like: Sequence[str]) -> Pushed:
    with moving(cli, f"Pushing {what}") as progress:
        # Each byte is read twice, to be hashed and to be stored.
        return files.push(storage, like=like, progress=lambda done, total: progress(done // 2, total // 2))


def _ensure_registered(cli: Cli, model: str, reason: str) -> None:
    from modelyard.client import NotFound

    shelf = cli.client.registry
    try:
        shelf.get(model)
    except NotFound:
        shelf.register(model, reason=reason)
        cli.say(f"{model} is registered")


def _alike(cli: Cli, model: str, number: str, parent: str) -> list[str]:
    """The manifests of the versions with which a new one may have most in common."""
    from modelyard.client import NotFound

    shelf = cli.client.registry
    found = [
        *islice(shelf.versions(model, range=f"<{number}", page_size=_LOWER), _LOWER),
        *islice(shelf.versions(model, page_size=1), 1),
    ]
    of, _, version = parent.rpartition("@")
    if version and of in ("", model):
        with suppress(NotFound):
            found.append(shelf.version(model, version))
    return list(dict.fromkeys(one.manifest for one in found))


def _next(registered: RegisteredModel | None, bump: str) -> str:
    """The number after the latest one."""
    from modelyard.domain.versions import parse_version

    latest = registered.latest if registered else None
    return str(parse_version(latest or "0.0.0").bumped(bump))


def _numbers(texts: Sequence[str]) -> dict[str, float]:
    from modelyard.domain.registry_rules import metric_complaint

    numbers = {}
    for name, text in pairs(texts, "--metric").items():
        try:
            numbers[name] = float(text)
        except ValueError:
            raise typer.BadParameter(f"{name} is {text!r}: a metric is a number.", param_hint="--metric") from None
        if wrong := metric_complaint(numbers[name]):
            raise typer.BadParameter(f"{name} is {text!r}: {wrong}", param_hint="--metric")
    return numbers


def _text_of(card: Path) -> str:
    try:
        return card.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        message = f"{card} is not text in UTF-8: byte {error.start} cannot be read."
        raise CliError(
            message, hint="A model card is Markdown: save it as UTF-8.", exit_code=ExitCode.INVALID
        ) from None


def _framework(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    name, _, version = text.partition(":")
    return {"name": name, "version": version}


def _amount(pushed: Pushed) -> str:
    new = f"{amount(pushed.written)} of it new" if pushed.written < pushed.size else "all of it new"
    return f"{amount(pushed.size)} in {pushed.files} file(s), {new}"


@contextmanager
def _registry_errors(refusal: str = "") -> Generator[None]:
    """What goes wrong with the store or the files, as the command line says it; ``refusal`` heads what is wrong with
    the latter."""
    from modelyard.domain.errors import InvalidRequest, ModelyardError

    try:
        yield
    except InvalidRequest as error:
        problems = "\n".join(f"{p.path}: {p.message}" if p.path else p.message for p in error.problems)
        raise CliError(refusal, log=problems, exit_code=ExitCode.INVALID) from error
    except ModelyardError as error:
        raise CliError(error.message) from error
