"""``pull``, ``verify``, ``gc``, ``cleanup``: the bytes of registered versions. Of ``push`` there is more to say, in
:mod:`modelyard.cli.pushing`.

They are read and written here, in this process, with the store itself, or where that cannot be reached from here with
the server's routes for it; the server only learns what was published.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.context import REGISTRY, Cli, DryRunOption, command
from modelyard.cli.problems import CliError
from modelyard.cli.progress import moving, resumable
from modelyard.cli.registry import signers, split_pick
from modelyard.cli.stores import registry_errors, store_of
from modelyard.domain.quantities import rounded_bytes

if TYPE_CHECKING:
    pass

VersionArgument = Annotated[
    str,
    typer.Argument(metavar="NAME[@VERSION]", help="What to get: 1.4.2, ^1.4, stable (default: latest).",
                   show_default=False),
]  # fmt: skip
# So many other versions are looked for in folders beside the one to pull into, and in the cache.
_OTHERS = 8


def register(app: typer.Typer) -> None:
    for name, function in (("pull", pull), ("verify", verify), ("gc", collect), ("cleanup", clean_up)):
        command(app, name, rich_help_panel=REGISTRY)(function)
    # What other registries call it.
    command(app, "download", rich_help_panel=REGISTRY, hidden=True)(pull)


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
    storage, is_near = store_of(cli)
    near = _near(cli, model, folder, is_near=is_near)
    with (
        resumable(cli),
        registry_errors(f"{folder} has other files."),
        moving(cli, f"Pulling {model}@{found.version}") as progress,
    ):
        pulled = fetch(storage, found.manifest, folder, overwrite=force, near=near, progress=progress)
    fresh = (
        f"{rounded_bytes(pulled.written)} written, {rounded_bytes(pulled.fetched)} fetched"
        if pulled.written
        else "all there"
    )
    cli.say(f"{model}@{found.version} is in {folder}: {rounded_bytes(pulled.size)} in {pulled.files} file(s), {fresh}")
    if cli.is_plain:
        cli.show(
            {**found.raw, "folder": str(folder.resolve()), "written": pulled.written, "fetched": pulled.fetched},
            lambda: "",
        )


def verify(cli: Cli, name: VersionArgument) -> None:
    """Read every byte of a version again, in the store and where this machine serves it from, and compare it with what
    was pushed."""
    from modelyard.registry.content.cache import Cache
    from modelyard.registry.content.verifying import verify_laid_out, verify_stored

    model, pick = split_pick(name)
    found = cli.client.registry.resolve(model, pick or "latest")
    storage, is_near = store_of(cli)
    with registry_errors():
        stored = verify_stored(storage, found.manifest)
        # The folder of that name on another machine is not the one that is meant.
        cache = Cache(Path(cli.client.registry.store().cache), storage)
        laid_out = verify_laid_out(cache, storage, found.manifest) if is_near else ()
    signed = cli.client.registry.verification(model, found.version)
    what, damages = f"{model}@{found.version}", (*stored, *laid_out)
    if cli.is_plain:
        items = {"damaged": [asdict(d) for d in stored], "laid_out": [asdict(d) for d in laid_out]}
        cli.show({"version": found.version, "manifest": found.manifest, **items, **signed.raw}, lambda: "")
    elif not damages:
        cli.say(f"{what} is whole: {found.files} file(s), {signers(signed)}")
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
    if wrong := [one for one in signed.signatures if not one.valid]:
        lines = "\n".join(f"{one.key}: {one.problem}" for one in wrong)
        raise CliError(f"{what} has {len(wrong)} signature(s) that cannot be verified.", log=lines)


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
    text = f"{done.removed} object(s) {would}removed, {rounded_bytes(done.freed)} {would}freed; {done.kept} are in use"
    young = f", {done.young} are too young to go" if done.young else ""
    if done.condemned and done.goes_at is not None:
        young += f", {done.condemned} go with the first 'modelyard gc' after {done.goes_at:%Y-%m-%d %H:%M} UTC"
    cache = f"; {rounded_bytes(done.cache.freed)} of the cache {would}freed" if done.cache.removed else ""
    cli.show(done.raw, lambda: text + young + cache)


def clean_up(
    cli: Cli,
    gigabytes: Annotated[
        float | None,
        typer.Option("--max-size-gb", min=0, help="What the cache is to be at most (default: MODELYARD_CACHE_SIZE)."),
    ] = None,
    dry_run: DryRunOption = False,
) -> None:
    """Make the cache of registered models' files smaller: the longest unused go first, none served or pinned."""
    from modelyard.cli.caching import why_kept

    limit = None if gigabytes is None else int(gigabytes * 10**9)
    done = cli.client.registry.clean_up(limit, dry_run=dry_run)
    would = "would be " if dry_run else ""
    text = f"{done.removed} version(s) {would}removed from the cache, {rounded_bytes(done.freed)} {would}freed"
    left = f"{text}; {rounded_bytes(done.size)} in {done.folders} version(s) are left"
    if done.limit is None:
        left += "; no limit is set (--max-size-gb, or MODELYARD_CACHE_SIZE)"
    cli.show(done.raw, lambda: f"{left}\n{why_kept(done)}" if done.over else left)


def _near(cli: Cli, model: str, folder: Path, *, is_near: bool) -> dict[Path, list[str]]:
    """Folders that may hold other versions, with the manifests of those: what these have is not fetched."""
    near: dict[Path, list[str]] = {}
    for version in islice(cli.client.registry.versions(model, page_size=_OTHERS), _OTHERS):
        called = f"{model}-{version.version}"
        for place in dict.fromkeys((folder.absolute(), folder.absolute().parent / called, Path(called).absolute())):
            if place.is_dir():
                near.setdefault(place, []).append(version.manifest)
    if is_near:
        laid = sorted((Path(cli.client.registry.store().cache) / "laid").glob("*.exact"), key=_used_at, reverse=True)
        near |= {place: [f"sha256:{place.stem}"] for place in laid[:_OTHERS]}
    return near


def _used_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # it is just being evicted
        return 0.0
