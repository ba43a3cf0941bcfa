"""From a store to a folder of its user's: the files as they were pushed, sharing nothing with any cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
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
        claims: dict[Path, list[_Claim]] = {}
        for digest in digests:
            try:
                manifest = read_manifest(storage, digest)
            except (Missing, Damaged):
                continue
            for file in manifest.files:
                path = folder / file.path
                with suppress(OSError):
                    if path.stat().st_size == file.size:
                        claimed = claims.setdefault(path, [])
                        if all(one.file.parts != file.parts for one in claimed):
                            claimed.append(_Claim(file, manifest))
        for path, claimed in claims.items():
            # Versions that differ in values alone have files of one size: one that is not there must not stand in the
            # way of the one that is.
            held = [one for one in claimed if one.is_likely(path, claimed)] if len(claimed) > 1 else claimed
            for one in held or claimed:
                having.add(path, 0, one.file.parts, one.manifest)
    return having


class _Claim:
    """That a file of a folder is this one of that version."""

    def __init__(self, file: File, manifest: Manifest) -> None:
        self.file, self.manifest = file, manifest
        self._chunks: dict[int, tuple[int, bytes]] = {}

    def chunks(self) -> Mapping[int, tuple[int, bytes]]:
        """By where each begins, of how many bytes it is, and its digest."""
        offset = 0
        if not self._chunks:
            for part in self.file.parts:
                chunks = self.manifest.chunks[part.root]
                for number, (at, length) in enumerate(chunks.bounds()):
                    self._chunks[offset + at] = (length, chunks.digest(number))
                offset += part.size
        return self._chunks

    def is_likely(self, path: Path, claims: Sequence[_Claim]) -> bool:
        """Whether the file has what tells it from each of the others: a chunk each is read."""
        telling = set[int]()
        for other in claims:
            if other is not self:
                theirs = other.chunks()
                telling.update(islice((at for at, one in self.chunks().items() if theirs.get(at) != one), 1))
        try:
            with path.open("rb") as content:
                for at in sorted(telling):
                    length, digest = self.chunks()[at]
                    content.seek(at)
                    if not matches(content.read(length), digest):
                        return False
        except OSError:
            return False
        return True


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
