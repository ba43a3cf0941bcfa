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
import random
import secrets
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelyard.registry.content.fetching import Fetch, Progress, Wanted
from modelyard.registry.content.having import Having
from modelyard.registry.content.layout import Layout, Placed, placed
from modelyard.registry.content.leases import Lease
from modelyard.registry.content.manifest import Damaged, Extent, Index, Manifest, decode, encode, hex_of, is_hex
from modelyard.registry.content.peers import Peers
from modelyard.registry.content.shortcuts import read_shortcuts
from modelyard.registry.content.storage import NO_LINK, UNFINISHED, Folder, Storage, write_all, written
from modelyard.registry.content.stored import manifest_name, object_name, read_index, read_manifest
from modelyard.registry.content.supply import Supply

_UNFINISHED: Final = ".making-"
# Seconds between two looks at what another process is laying out.
_LOOK_EVERY: Final = 0.05
_TRIES: Final = 5
# So many versions are looked at for what another one may have in common with them.
_BASES: Final = 16
# Bytes of the disk that are left to others: a home's database may be on it.
_SPARE: Final = 256 * 2**20


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A version's folder on this machine, and how many bytes had to come for it: ``fetched`` from the store, and
    ``from_peers``."""

    path: Path
    fetched: int
    from_peers: int = 0


class Cache:
    """The cache in a folder, filled from a store, or from ``peers`` that have what it lacks."""

    def __init__(self, root: Path, storage: Storage, peers: Peers | None = None) -> None:
        self.root, self._storage, self._peers = root, storage, peers

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
        manifest, index = self._manifest(digest), read_index(self._storage, digest)
        files = placed(manifest, layout)
        lease = Lease(self.root / "leases" / folder.name)
        while not lease.take():
            # Somebody else does it, or did.
            if folder.is_dir():
                return LaidOut(folder, 0)
            time.sleep(_LOOK_EVERY)
        try:
            return LaidOut(folder, *self._make(folder, digest, manifest, index, files, progress))
        finally:
            lease.release()

    def _make(
        self, folder: Path, digest: str, manifest: Manifest, index: Index, files: Sequence[Placed],
        progress: Progress | None,
    ) -> tuple[int, int]:  # fmt: skip
        fetched = from_peers = tries = 0
        while not folder.is_dir():
            if tries == _TRIES:
                raise OSError(errno.EIO, "could not be put in its place", str(folder))
            tries += 1
            supply = self._fill(digest, manifest, index, files, progress)
            fetched, from_peers = fetched + supply.fetched, from_peers + supply.from_peers
            # A file of the cache may be evicted before it is linked to; then it is made once more.
            with contextlib.suppress(FileNotFoundError):
                self._assemble(folder, files)
        return fetched, from_peers

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
            # What is young is never taken aside, not for a moment, but for the use that comes just now.
            if folder.stat().st_mtime >= before:
                return False
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
        laid = {digest for digest, _ in self._laid()}
        for path in self.root.glob("manifests/*"):
            with contextlib.suppress(FileNotFoundError):
                if f"sha256:{path.name}" not in laid and path.stat().st_mtime < before:
                    path.unlink()

    # ---------------------------------------------------------------- files

    def path(self, name: str) -> Path:
        """Where the file of this name (:attr:`Placed.name`) is, or would be."""
        return self.root / "files" / name[:2] / name

    def _file(self, file: Placed) -> Path:
        return self.path(file.name)

    def _fill(
        self, digest: str, manifest: Manifest, index: Index, files: Sequence[Placed], progress: Progress | None
    ) -> Supply:
        """Have every file in the cache; where its bytes came from."""
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
        if self._peers is not None:
            # Machines that begin together then begin with different files, and find each other's.
            random.shuffle(wanted)
        supply = Supply(
            self._storage, manifest, index, having=self._having,
            shortcuts=lambda: read_shortcuts(self._storage, digest, manifest), peers=self._peers,
        )  # fmt: skip
        Fetch(supply, sum(f.size for f in wanted), progress, spare=_SPARE).make(wanted)
        return supply

    def _manifest(self, digest: str) -> Manifest:
        """The version's manifest, of which the cache then has a copy. Raises Missing, Damaged, Unavailable, OSError."""
        path = self.root / "manifests" / hex_of(digest)
        with contextlib.suppress(FileNotFoundError, Damaged):
            return decode(path.read_bytes(), digest)
        manifest = read_manifest(self._storage, digest)
        if isinstance(self._storage, Folder):
            # The store's own file: a second version costs what changed, and no copy of this.
            with contextlib.suppress(OSError):  # then it is read from the store again
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                link_or_copy(self._storage.path(manifest_name(digest)), path)
            return manifest
        with written(path, 0o444) as file:
            write_all(file, encode(manifest))
        return manifest

    def _having(self) -> Having:
        """What is laid out of other versions, the last used ones first."""
        having = Having()
        for digest, layout in self._laid()[:_BASES]:
            try:
                manifest = decode((self.root / "manifests" / hex_of(digest)).read_bytes(), digest)
            except (OSError, Damaged):
                continue
            for file in placed(manifest, layout):
                having.add(self._file(file), len(file.header), file.parts, manifest)
        return having

    def _laid(self) -> list[tuple[str, Layout]]:
        found: list[tuple[float, str, Layout]] = []
        for path in (self.root / "laid").glob("*.*"):
            name, _, layout = path.name.partition(".")
            if layout in list(Layout) and is_hex(name):
                with contextlib.suppress(FileNotFoundError):
                    found.append((path.stat().st_mtime, f"sha256:{name}", Layout(layout)))
        return [(digest, layout) for _, digest, layout in sorted(found, reverse=True)]

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
