"""What this machine has of registered versions, as plain files that can be served.

``files/ab/<name>`` holds each file once, read-only; ``laid/<manifest>.<layout>/`` is a folder of links to them. Many
processes may use one cache, on a network file system too: nothing is right or wrong by a lock. What is written is
written under a name of its own, checked chunk by chunk, and linked to its place in one step; whoever comes second finds
it there, or has made the same. That one lays a version out while the others wait for it only saves work.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelyard.registry.content.fetching import Fetch, Progress, Wanted
from modelyard.registry.content.layout import Layout, Placed, placed
from modelyard.registry.content.leases import Lease
from modelyard.registry.content.manifest import Extent, Index, Manifest, hex_of
from modelyard.registry.content.storage import NO_LINK, UNFINISHED, Folder, Storage
from modelyard.registry.content.stored import object_name, read_index, read_manifest

_UNFINISHED: Final = ".making-"
# Seconds between two looks at what another process is laying out.
_LOOK_EVERY: Final = 0.05
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A version's folder on this machine, and how many bytes had to be written for it."""

    path: Path
    written: int


class Cache:
    """The cache in a folder, filled from a store."""

    def __init__(self, root: Path, storage: Storage) -> None:
        self.root, self._storage = root, storage

    def folder(self, digest: str, layout: Layout) -> Path:
        """Where a version is laid out, or would be."""
        return self.root / "laid" / f"{hex_of(digest)}.{layout}"

    def lay_out(self, digest: str, layout: Layout, progress: Progress | None = None) -> LaidOut:
        """Have the version's files in a folder; nothing to do where they are there. ``progress`` is told of bytes.

        Raises:
            Missing: the store has not all of it
            Damaged: what the store has is not what was pushed
            Unavailable: the store fails
            OSError: the cache cannot be written
        """
        folder = self.folder(digest, layout)
        with contextlib.suppress(FileNotFoundError):
            os.utime(folder)  # the longest unused goes first
            return LaidOut(folder, 0)
        manifest, index = read_manifest(self._storage, digest), read_index(self._storage, digest)
        files = placed(manifest, layout)
        lease = Lease(self.root / "leases" / folder.name)
        while not lease.take():
            # Somebody else does it, or did.
            if folder.is_dir():
                return LaidOut(folder, 0)
            time.sleep(_LOOK_EVERY)
        try:
            return LaidOut(folder, self._make(folder, manifest, index, files, progress))
        finally:
            lease.release()

    def _make(
        self, folder: Path, manifest: Manifest, index: Index, files: Sequence[Placed], progress: Progress | None
    ) -> int:
        written = tries = 0
        while not folder.is_dir():
            if tries == _TRIES:
                raise OSError(errno.EIO, "could not be put in its place", str(folder))
            tries += 1
            written += self._fill(manifest, index, files, progress)
            # A file of the cache may be evicted before it is linked to; then it is made once more.
            with contextlib.suppress(FileNotFoundError):
                self._assemble(folder, files)
        return written

    def _assemble(self, folder: Path, files: Sequence[Placed]) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = folder.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
        making.mkdir()
        try:
            for file in files:
                path = making / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(self._file(file), path)
            with contextlib.suppress(OSError):  # another process was first
                making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def touch(self, digests: Collection[str]) -> None:
        """What these versions have laid out is in use."""
        for digest in digests:
            for layout in Layout:
                with contextlib.suppress(OSError):
                    os.utime(self.folder(digest, layout))

    def evict(self, digest: str, layout: Layout, before: float) -> bool:
        """Take a version's folder away unless it was used since then (seconds since the epoch), also if that is just
        now; whether it is gone."""
        folder = self.folder(digest, layout)
        aside = folder.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside)
            # Whoever comes from here on lays it out anew; who came before has touched it.
            if aside.stat().st_mtime >= before:
                with contextlib.suppress(OSError):
                    aside.rename(folder)
                    return False
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def forget(self, digest: str, layout: Layout, files: Sequence[Placed]) -> None:
        """Take a version's folder away, and these files of the cache: who has them open keeps them."""
        folder = self.folder(digest, layout)
        # In one step: what is there at all is whole.
        aside = folder.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        for file in files:
            self._file(file).unlink(missing_ok=True)

    def tidy(self, before: float) -> None:
        """Remove what was left unfinished before then (seconds since the epoch) by processes that were killed."""
        for path in self.root.glob(f"laid/{_UNFINISHED}*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    shutil.rmtree(path, ignore_errors=True)
        for path in (*self.root.glob(f"files/*/*{UNFINISHED}*"), *self.root.glob("leases/*")):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    # ---------------------------------------------------------------- files

    def _file(self, file: Placed) -> Path:
        return self.root / "files" / file.name[:2] / file.name

    def _fill(self, manifest: Manifest, index: Index, files: Sequence[Placed], progress: Progress | None) -> int:
        """Have every file in the cache; bytes written."""
        missing = list({f.name: f for f in files if not self._file(f).exists()}.values())
        linked = {f.name for f in missing if self._link(f, index)}
        wanted = [
            Wanted(
                path=self._file(f), parts=f.parts, header=f.header, mode=0o555 if f.executable else 0o444,
                # Not put over what another has made meanwhile: a file that is replaced just as it is linked to is
                # missing.
                keep=True,
            )
            for f in missing if f.name not in linked
        ]  # fmt: skip
        fetch = Fetch(self._storage, manifest, index, sum(f.size for f in wanted), progress)
        fetch.make(wanted)
        return fetch.fetched

    def _link(self, file: Placed, index: Index) -> bool:
        """Take the store's own file, where it is just this one and near enough."""
        if not isinstance(self._storage, Folder) or len(file.parts) != 1 or file.executable:
            return False
        part, key = file.parts[0], object_name(file.parts[0].root, file.header)
        if index.get(part.root) != (Extent(key, len(file.header), part.size),):
            return False
        source, path = self._storage.path(key), self._file(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.stat().st_size != file.size:
                return False
            os.link(source, path)
        except FileExistsError:
            return True
        except OSError as error:
            # Missing or too short: whoever reads it says so.
            if error.errno in (*NO_LINK, errno.ENOENT):
                return False
            raise
        return True


def link_or_copy(source: Path, target: Path) -> None:
    """``target`` becomes the same file as ``source``, or where that cannot be, an equal one."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        shutil.copy2(source, target)
