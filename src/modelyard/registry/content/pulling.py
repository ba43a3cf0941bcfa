"""From a store to a folder of its user's: the files as they were pushed, sharing nothing with any cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.registry.content.chunks import matches
from modelyard.registry.content.fetching import Fetch, Progress, Wanted
from modelyard.registry.content.having import Having
from modelyard.registry.content.manifest import Damaged, File, Manifest
from modelyard.registry.content.shortcuts import read_shortcuts
from modelyard.registry.content.storage import Missing, Storage
from modelyard.registry.content.stored import read_index, read_manifest
from modelyard.registry.content.supply import Supply


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """The version has ``size`` bytes in ``files`` files, of which ``written`` bytes were not in the folder yet; for
    them ``fetched`` bytes came from the store."""

    size: int
    files: int
    written: int
    fetched: int


def pull(
    storage: Storage, digest: str, to: Path, *, overwrite: bool = False,
    near: Mapping[Path, Sequence[str]] | None = None, progress: Progress | None = None,
) -> Pulled:  # fmt: skip
    """Have all files of a version in the folder ``to``, each whole or not at all. Files that are there already stay,
    so that a pull that was cut off goes on where it was; others in the folder are left alone. ``near`` are folders,
    each with the manifests of versions that may be in it: what the version has in common with those comes from there.

    Raises:
        InvalidRequest: a file of the folder has the name of one of the version's and other content; with ``overwrite``
            it is replaced
        Missing, Damaged: the store has not all of it
        Unavailable: the store fails
        OSError: the folder cannot be written
    """
    manifest, index = read_manifest(storage, digest), read_index(storage, digest)
    to.mkdir(parents=True, exist_ok=True)
    root = to.resolve()
    wanted = [file for file in manifest.files if not _is_there(root / file.path, file, manifest)]
    others = [file for file in wanted if (root / file.path).exists() or (root / file.path).is_symlink()]
    if others and not overwrite:
        message = (
            "There is a file of this name with other content. Pull into another folder, or overwrite it (--force)."
        )
        raise InvalidRequest([Problem(file.path, "exists", message) for file in others])
    for file in wanted:
        _refuse_detour(root, root / file.path)
    supply = Supply(
        storage, manifest, index, having=lambda: _having(storage, near or {}),
        shortcuts=lambda: read_shortcuts(storage, digest, manifest),
    )  # fmt: skip
    Fetch(supply, sum(file.size for file in wanted), progress).make(
        [
            # Not waiting for the disk, as no copy does: whoever pulls once more finds what is not whole.
            Wanted(path=root / file.path, parts=file.parts, mode=0o755 if file.executable else 0o644, durable=False)
            for file in wanted
        ]
    )
    written = sum(file.size for file in wanted)
    return Pulled(size=manifest.size, files=len(manifest.files), written=written, fetched=supply.fetched)


def _having(storage: Storage, near: Mapping[Path, Sequence[str]]) -> Having:
    having = Having()
    for folder, digests in near.items():
        for digest in digests:
            try:
                manifest = read_manifest(storage, digest)
            except (Missing, Damaged):
                continue
            for file in manifest.files:
                path = folder / file.path
                with suppress(OSError):
                    if path.stat().st_size == file.size:
                        having.add(path, 0, file.parts, manifest)
    return having


def _is_there(path: Path, file: File, manifest: Manifest) -> bool:
    try:
        if path.is_symlink() or path.stat().st_size != file.size:
            return False
        with path.open("rb") as content:
            return all(
                matches(content.read(length), manifest.chunks[part.root].digest(number))
                for part in file.parts
                for number, (_, length) in enumerate(manifest.chunks[part.root].bounds())
            )
    except OSError:
        return False


def _refuse_detour(root: Path, path: Path) -> None:
    """A folder below ``root`` that is a link would have the file written elsewhere."""
    for folder in path.parents:
        if folder == root:
            return
        if folder.is_symlink():
            message = f"{folder} is a symbolic link: pull into another folder, or remove it."
            raise InvalidRequest([Problem(str(path.relative_to(root)), "link", message)])
