"""From a store to a folder of its user's: the files as they were pushed, sharing nothing with any cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.registry.content.chunks import matches
from modelyard.registry.content.fetching import Fetch, Progress, Wanted
from modelyard.registry.content.manifest import File, Manifest
from modelyard.registry.content.storage import Storage
from modelyard.registry.content.stored import read_index, read_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """The version has ``size`` bytes in ``files`` files, of which ``written`` bytes were not in the folder yet."""

    size: int
    files: int
    written: int


def pull(
    storage: Storage, digest: str, to: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> Pulled:
    """Have all files of a version in the folder ``to``, each whole or not at all. Files that are there already stay,
    so that a pull that was cut off goes on where it was; others in the folder are left alone.

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
    fetch = Fetch(storage, manifest, index, sum(file.size for file in wanted), progress)
    fetch.make(
        [Wanted(path=root / file.path, parts=file.parts, mode=0o755 if file.executable else 0o644) for file in wanted]
    )
    return Pulled(size=manifest.size, files=len(manifest.files), written=fetch.fetched)


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
