"""From a store to a folder of its user's: the files as they were pushed, sharing nothing with any cache."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.registry.content.chunks import Buffer, matches
from modelyard.registry.content.cutting import Progress
from modelyard.registry.content.manifest import File, Index, Manifest
from modelyard.registry.content.storage import Storage, unfinished_prefix, write_all, written
from modelyard.registry.content.stored import chunks_of, read_index, read_manifest

_FILES_AT_ONCE: Final = 4


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
    counter = Counter(progress, sum(file.size for file in wanted))
    with ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="pull") as pool:
        for _ in pool.map(lambda file: _write(root, file, storage, manifest, index, counter), wanted):
            pass
    return Pulled(size=manifest.size, files=len(manifest.files), written=counter.done)


class Counter:
    """Bytes that are done, counted by many threads."""

    def __init__(self, tell: Progress | None, total: int) -> None:
        self._tell, self._total, self._lock = tell, total, Lock()
        self.done = 0

    def add(self, count: int) -> None:
        with self._lock:
            self.done += count
            if self._tell is not None:
                self._tell(self.done, self._total)


def _write(root: Path, file: File, storage: Storage, manifest: Manifest, index: Index, counter: Counter) -> None:
    path = root / file.path
    _refuse_detour(root, path)
    # What an earlier pull of this file was killed over.
    for left in path.parent.glob(f"{_escaped(unfinished_prefix(path))}*") if path.parent.is_dir() else ():
        left.unlink(missing_ok=True)
    with written(path, 0o755 if file.executable else 0o644) as descriptor:
        for piece in _content(file, storage, manifest, index):
            write_all(descriptor, piece)
            counter.add(len(piece))


def _content(file: File, storage: Storage, manifest: Manifest, index: Index) -> Iterator[Buffer]:
    for part in file.parts:
        yield from chunks_of(storage, part, manifest.chunks[part.root], index.get(part.root, ()))


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


def _escaped(name: str) -> str:
    """As a glob that matches just this."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
