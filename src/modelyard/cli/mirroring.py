"""``mirror``: versions in another place as well, moved from store to store by this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import typer

from modelyard.cli.context import REGISTRY, Cli, DryRunOption, ReasonOption, command
from modelyard.cli.problems import CliError
from modelyard.cli.progress import moving, resumable
from modelyard.cli.registry import split_pick
from modelyard.cli.stores import store_of
from modelyard.cli.views import table
from modelyard.domain.quantities import rounded_bytes

if TYPE_CHECKING:
    from rich.table import Table

    from modelyard.client import Alias, ModelVersion, Modelyard
    from modelyard.registry.content.fetching import Progress
    from modelyard.registry.content.storage import Storage
    from modelyard.registry.oci.references import Reference

TOKEN: Final = "MODELYARD_MIRROR_TOKEN"  # noqa: S105 - where it is, not what it is


def register(app: typer.Typer) -> None:
    command(app, "mirror", rich_help_panel=REGISTRY)(mirror)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one version: ``moved`` bytes of ``size`` (on a dry run: that would be), or an ``error``."""

    name: str
    version: str
    manifest: str
    size: int
    moved: int = 0
    aliases: tuple[str, ...] = ()
    error: str = ""


class Target(Protocol):
    """Where versions go."""

    def move(self, version: ModelVersion, source: Storage, dry_run: bool, progress: Progress) -> int:
        """Have it there; the bytes that went over, or on a dry run would."""

    def point(self, version: ModelVersion, aliases: Sequence[Alias]) -> None:
        """Have these aliases mean it there."""


def mirror(
    cli: Cli,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME[@VERSION]", help="All versions, those of a range (^1.4), or an alias's.",
                       show_default=False),
    ],
    to: Annotated[
        str,
        typer.Option("--to", metavar="URL", help="Another Modelyard (https://), a store (s3://, gs://, az://, file://) "
                     "or a repository of images (oci://).", show_default=False),
    ],
    aliases: Annotated[bool, typer.Option("--aliases", help="Also their aliases.")] = False,
    to_token_file: Annotated[
        Path | None,
        typer.Option("--to-token-file", exists=True, dir_okay=False,
                     help=f"A file with the other Modelyard's token (env: {TOKEN})."),
    ] = None,
    dry_run: DryRunOption = False,
    reason: ReasonOption = "",
) -> None:  # fmt: skip
    """Have versions in another registry, store or container registry too. What is there already does not go over
    again; a mirror that was cut off goes on where it was."""
    from modelyard.registry.content.remote import Remote

    chosen = [version for name in names for version in _chosen(cli, name)]
    token = to_token_file.read_text().strip() if to_token_file else os.environ.get(TOKEN, "")
    if to.startswith("oci://") and len({version.name for version in chosen}) > 1:
        raise typer.BadParameter("A repository of images has the versions of one model.", param_hint="--to")
    with resumable(cli), ExitStack() as stack:
        target = _target(cli, to, token, reason, stack, dry_run=dry_run)
        source, _ = store_of(cli)
        if isinstance(source, Remote):
            stack.callback(source.close)
        pointing = _pointing(cli, chosen) if aliases else {}
        outcomes = [
            _one(cli, version, pointing.get((version.name, version.version), ()), source, target, dry_run=dry_run)
            for version in chosen
        ]
    failed = [one for one in outcomes if one.error]
    cli.show({"to": to, "dry_run": dry_run, "items": [asdict(one) for one in outcomes]}, lambda: _table(outcomes))
    if failed:
        lines = "\n".join(f"{one.name}@{one.version}: {one.error}" for one in failed)
        hint = "Run it again: what is there by now does not go over again."
        raise CliError(f"{len(failed)} of {len(outcomes)} version(s) could not be mirrored.", log=lines, hint=hint)


def _one(
    cli: Cli, version: ModelVersion, aliases: Sequence[Alias], source: Storage, target: Target, *, dry_run: bool
) -> Outcome:
    from modelyard.client import ModelyardError as Answered
    from modelyard.domain.errors import ModelyardError

    moved, error = 0, ""
    try:
        with moving(cli, f"Mirroring {version.name}@{version.version}") as progress:
            moved = target.move(version, source, dry_run, progress)
        if not dry_run:
            target.point(version, aliases)
    except ModelyardError as failure:
        error = failure.message
    except Answered as failure:
        fields = "; ".join(f"{field.path}: {field.message}" for field in failure.errors)
        error = fields or failure.detail
    return Outcome(
        name=version.name, version=version.version, manifest=version.manifest, size=int(version.size), moved=moved,
        aliases=tuple(alias.alias for alias in aliases), error=error,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- what goes


def _chosen(cli: Cli, text: str) -> Sequence[ModelVersion]:
    """The lowest first: later ones share what earlier ones have brought."""
    from modelyard.domain.versions import is_range

    name, pick = split_pick(text)
    shelf = cli.client.registry
    if pick is not None and not is_range(pick):
        return [shelf.resolve(name, pick)]
    found = list(shelf.versions(name, range=pick))
    if not found:
        raise CliError(f"There is no version of {text}.")
    return found[::-1]


def _pointing(cli: Cli, versions: Sequence[ModelVersion]) -> dict[tuple[str, str], list[Alias]]:
    from modelyard.domain.registry import LATEST

    found: dict[tuple[str, str], list[Alias]] = {}
    for name in dict.fromkeys(version.name for version in versions):
        for alias in cli.client.registry.aliases(name):
            if alias.alias != LATEST:
                found.setdefault((name, alias.version), []).append(alias)
    return found


# ------------------------------------------------------------------------------------------- where to


def _target(cli: Cli, to: str, token: str, reason: str, stack: ExitStack, *, dry_run: bool) -> Target:
    """Raises typer.BadParameter and, of a folder that cannot be made, CliError."""
    from modelyard.domain.errors import InvalidRequest

    scheme = to.partition("://")[0]
    try:
        if scheme in ("http", "https"):
            if not token:
                message = f"The other Modelyard wants a token of its own: give --to-token-file, or {TOKEN}."
                raise typer.BadParameter(message, param_hint="--to-token-file")
            return _yard(cli, to, token, reason, stack)
        if scheme == "oci":
            from modelyard.registry.oci.references import parse

            repository = parse(to)
            if repository.tag or repository.digest:
                raise typer.BadParameter("Leave the tag out: each version has its own.", param_hint="--to")
            return _Images(repository)
        from modelyard.registry.content.locations import store_at
        from modelyard.registry.content.storage import Folder

        store = store_at(to)
        if isinstance(store, Folder) and not dry_run:
            _make(store.root)
        return _Store(store)
    except InvalidRequest as error:
        raise typer.BadParameter(error.problems[0].message, param_hint="--to") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "Name a folder that this user may make, or write to."
        raise CliError(f"{folder} cannot be written to: {error.strerror or error}.", hint=hint) from error


def _yard(cli: Cli, to: str, token: str, reason: str, stack: ExitStack) -> Target:
    from modelyard.client import Modelyard
    from modelyard.client.locate import locate
    from modelyard.registry.content.remote import Remote

    # Never our own token: it is none of theirs.
    client = stack.enter_context(Modelyard(to, token, namespace=cli.client.namespace, ca_file=cli.ca))
    storage = Remote(to, token, verify=locate(to, token, ca_file=cli.ca).trust())
    stack.callback(storage.close)
    return _Yard(cli, client, storage, reason)


class _Store:
    """Bytes and manifests, nothing of a catalog."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def move(self, version: ModelVersion, source: Storage, dry_run: bool, progress: Progress) -> int:
        from modelyard.registry.mirroring import mirror

        return mirror(source, version.manifest, self._storage, dry_run=dry_run, progress=progress).moved

    def point(self, version: ModelVersion, aliases: Sequence[Alias]) -> None:
        pass


class _Yard(_Store):
    """Another Modelyard: the bytes, and what is said of them."""

    def __init__(self, cli: Cli, client: Modelyard, storage: Storage, reason: str) -> None:
        super().__init__(storage)
        self._cli, self._client, self._reason = cli, client, reason

    def move(self, version: ModelVersion, source: Storage, dry_run: bool, progress: Progress) -> int:
        moved = super().move(version, source, dry_run, progress)
        if not dry_run:
            self._register(version.name)
            # With its card, which lists do without.
            whole = self._cli.client.registry.version(version.name, version.version)
            self._client.registry.publish(
                version.name, version.version, manifest=version.manifest, reason=self._reason, **_said_of(whole)
            )
            self._sign(version)
        return moved

    def _sign(self, version: ModelVersion) -> None:
        """Have the signatures there that are worth something there."""
        from modelyard.client import ModelyardError

        there = {one.fingerprint for one in self._client.registry.signatures(version.name, version.version)}
        for one in self._cli.client.registry.signatures(version.name, version.version):
            if one.fingerprint in there:
                continue
            try:
                self._client.registry.add_signature(
                    version.name, version.version, one.bundle, kind=one.kind, reason=self._reason
                )
            except ModelyardError as error:
                what = f"The signature of {version.name}@{version.version} by {one.key}"
                self._cli.say(f"{what} stays behind: {error.detail}")

    def point(self, version: ModelVersion, aliases: Sequence[Alias]) -> None:
        shelf = self._client.registry
        there = {alias.alias: alias.version for alias in shelf.aliases(version.name)}
        for alias in aliases:
            if there.get(alias.alias) != version.version:
                shelf.set_alias(version.name, alias.alias, version.version, reason=self._reason)

    def _register(self, name: str) -> None:
        from modelyard.client import NotFound

        try:
            self._client.registry.get(name)
        except NotFound:
            ours = self._cli.client.registry.get(name)
            self._client.registry.register(
                name, description=ours.description, series=ours.series, task=ours.task, licence=ours.licence,
                labels=ours.labels, reason=self._reason,
            )  # fmt: skip


def _said_of(version: ModelVersion) -> dict[str, Any]:
    words = (
        "framework", "signature", "lineage", "dependencies", "licence", "trust", "description", "metrics", "labels",
        "card",
    )  # fmt: skip
    return {word: version.raw[word] for word in words if version.raw.get(word) is not None}


class _Images:
    """One image a version in a repository; its tag is the version, and aliases are tags as well."""

    def __init__(self, repository: Reference) -> None:
        self._repository = repository

    def move(self, version: ModelVersion, source: Storage, dry_run: bool, progress: Progress) -> int:
        from modelyard.domain.errors import NotFound
        from modelyard.registry.oci.client import Client
        from modelyard.registry.oci.exporting import push_image
        from modelyard.registry.oci.image import VERSION_ANNOTATION, annotations_of

        reference = replace(self._repository, tag=version.version)
        with suppress(NotFound), Client.of(reference) as client:
            if client.manifest().annotations.get(VERSION_ANNOTATION) == version.manifest:
                return 0
        if dry_run:
            return int(version.size)  # which layers are there, only a look at all bytes would tell
        about = annotations_of(version.name, version.version, version.published_at, version.licence)
        return push_image(source, version.manifest, reference, annotations=about, progress=progress).written

    def point(self, version: ModelVersion, aliases: Sequence[Alias]) -> None:
        from modelyard.registry.oci.client import Client

        with Client.of(replace(self._repository, tag=version.version)) as client:
            found = client.manifest()
        for alias in aliases:
            with Client.of(replace(self._repository, tag=alias.alias)) as client:
                if client.digest() != found.digest:
                    client.put_manifest(found.body)


def _table(outcomes: Sequence[Outcome]) -> Table:
    from rich.markup import escape

    made = table("NAME", "VERSION", "SIZE", "MOVED", "ALIASES", "MESSAGE")
    for one in outcomes:
        made.add_row(
            escape(one.name), one.version, rounded_bytes(one.size), rounded_bytes(one.moved),
            escape(", ".join(one.aliases)), f"[red]{escape(one.error)}[/]" if one.error else "",
        )  # fmt: skip
    return made
