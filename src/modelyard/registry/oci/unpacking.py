"""From the layers of an image to a folder: what a container would see of it, unpacked as carefully as any archive.

The layers' headers are read first: which member of which layer is what is seen in the end, with the deletions
(whiteouts) of upper layers done. Only these are judged, all before the first is written: what a base image has of links
and devices beside the model harms nobody. A name that leads out of the image is refused wherever it is.

Source: https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md.
"""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tarfile import TarInfo
from typing import Final

import zstandard

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.quantities import format_bytes
from modelyard.registry.formats.archives import (
    DAMAGE,
    GZIP,
    Folder,
    Limits,
    Member,
    Source,
    Stop,
    damaged,
    fault_in_tar,
    members,
)

_ZSTD: Final = b"\x28\xb5\x2f\xfd"
# Memory that a layer may ask for, as much as zstd's own program gives without being told to.
_WINDOW: Final = 2**27
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
# Of all layers together, base images' too.
_MAX_MEMBERS: Final = 2_000_000
_FAILURES: Final = (*DAMAGE, zstandard.ZstdError)


@dataclass(frozen=True, slots=True)
class _Entry:
    """The member with this number of a layer."""

    layer: int
    number: int
    size: int
    is_folder: bool
    fault: tuple[str, str] | None


def unpack_layers(
    layers: Sequence[Path], to: Path, limits: Limits, *, below: str, told: Callable[[int], None] = lambda size: None
) -> None:
    """Unpack layers, the lowest first, into ``to``, which is empty: what is below the folder ``below``, if there is
    anything, else all. ``told`` is told of the bytes that have come out.

    Raises:
        InvalidRequest: as :func:`modelyard.registry.formats.archives.unpack`
        OSError: a layer cannot be read, or ``to`` not be written
    """
    folder = Folder(to, limits, told)
    try:
        view = _View(below, limits.files)
        for number, layer in enumerate(layers):
            view.add(number, _listed(layer, limits))
        wanted = _admitted(view.seen(), folder)
        if folder.problems:
            raise InvalidRequest(folder.problems)
        for number, layer in enumerate(layers):
            if wanted[number]:
                _extract(layer, wanted[number], folder)
    except Stop as stop:
        raise InvalidRequest([*folder.problems, Problem("", stop.code, str(stop))]) from stop


def _admitted(seen: Mapping[str, _Entry], folder: Folder) -> Mapping[int, Mapping[int, str]]:
    """The paths of those that may be written, by layer and number; of the others the folder keeps the problems."""
    wanted: defaultdict[int, dict[int, str]] = defaultdict(dict)
    for path, entry in sorted(seen.items()):
        admitted = folder.admit(path, is_folder=entry.is_folder, size=entry.size, fault=entry.fault)
        if admitted is not None:
            wanted[entry.layer][entry.number] = admitted
    total = sum(entry.size for entry in seen.values())
    if total > folder.limits.size:
        raise Stop("too_large", f"It would unpack to {format_bytes(total)}: leave out what is not needed.")
    return wanted


def _extract(layer: Path, wanted: Mapping[int, str], folder: Folder) -> None:
    with _opened(layer, folder.limits) as source:
        for number, member in enumerate(members(source)):
            path = wanted.get(number)
            if path is None:
                continue
            if member.isdir():
                folder.make(path)
            else:
                folder.write(path, Member(source, member.size))


def _listed(layer: Path, limits: Limits) -> Iterator[tuple[int, TarInfo]]:
    with _opened(layer, limits) as source:
        yield from enumerate(members(source))
        source.finish()


@contextmanager
def _opened(layer: Path, limits: Limits) -> Iterator[Source]:
    """The layer's tar, however it is packed: what it is called says nothing."""
    packed = layer.stat().st_size
    try:
        with layer.open("rb") as raw:
            head = raw.read(len(_ZSTD))
            raw.seek(0)
            if head.startswith(GZIP):
                with gzip.GzipFile(fileobj=raw) as plain:
                    yield Source(plain, limits, packed)
            elif head == _ZSTD:
                unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
                with unpacker.stream_reader(raw, read_across_frames=True, closefd=False) as plain:
                    yield Source(plain, limits, packed)
            else:
                yield Source(raw, limits, None)
    except _FAILURES as error:
        raise damaged(error) from error


@dataclass(slots=True)
class _View:
    """What is seen of an image, layer by layer. Once anything is ``below``, only that counts."""

    below: str
    most: int
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _escaping: dict[str, _Entry] = field(default_factory=dict)
    _is_narrow: bool = False
    _is_full: bool = False
    _count: int = 0

    def add(self, layer: int, found: Iterable[tuple[int, TarInfo]]) -> None:
        """Lay the members of a layer over those before it."""
        new: dict[str, _Entry] = {}
        hidden: set[str] = set()
        opaque: set[str] = set()
        for number, member in found:
            self._count += 1
            if self._count > _MAX_MEMBERS:
                raise Stop("too_many_files", f"It holds over {_MAX_MEMBERS} members: that is no model's image.")
            path = member.name.removeprefix("./").rstrip("/")
            entry = _Entry(layer, number, member.size, member.isdir(), fault_in_tar(member))
            parent, _, name = path.rpartition("/")
            if path.startswith("/") or ".." in path.split("/"):
                self._escaping[path] = entry
            elif name == _OPAQUE:
                opaque.add(parent)
            elif name.startswith(_WHITEOUT):
                hidden.add(f"{parent}/{name[len(_WHITEOUT) :]}".removeprefix("/"))
            elif path not in ("", "."):
                self._keep(path, entry, new)
        self._cover(new, hidden, opaque)
        self._entries |= new
        if self._is_narrow:
            self._entries = {path: entry for path, entry in self._entries.items() if self._is_below(path)}

    def seen(self) -> Mapping[str, _Entry]:
        """By path, as seen from below where there is anything."""
        if not self._is_narrow:
            if self._is_full:
                raise Stop("too_many_files", f"It holds over {self.most} members, none of them below /{self.below}.")
            return self._entries | self._escaping
        prefix = f"{self.below}/"
        # The folder itself is nothing to write, but for a link that stands in its place.
        inner = {
            path.removeprefix(prefix): entry
            for path, entry in self._entries.items()
            if path != self.below or not entry.is_folder
        }
        return inner | self._escaping

    def _keep(self, path: str, entry: _Entry, new: dict[str, _Entry]) -> None:
        if self._is_below(path) and (path != self.below or entry.is_folder or entry.fault):
            self._is_narrow = True
        elif self._is_narrow:
            return
        elif len(self._entries) + len(new) >= self.most:
            self._is_full = True
            return
        if len(self._entries) + len(new) > 2 * self.most:
            raise Stop("too_many_files", f"It holds over {self.most} members: leave out what is not needed.")
        new[path] = entry

    def _is_below(self, path: str) -> bool:
        return bool(self.below) and (path == self.below or path.startswith(f"{self.below}/"))

    def _cover(self, new: Mapping[str, _Entry], hidden: set[str], opaque: set[str]) -> None:
        """Take away what the new layer hides of those below it: by a whiteout, or by what stands in its place."""
        files = {path for path, entry in new.items() if not entry.is_folder}
        if not (files or hidden or opaque):
            return

        def is_covered(path: str) -> bool:
            if path in hidden or "" in opaque:
                return True
            folder = path.rpartition("/")[0]
            while folder:
                if folder in hidden or folder in opaque or folder in files:
                    return True
                folder = folder.rpartition("/")[0]
            return False

        self._entries = {path: entry for path, entry in self._entries.items() if not is_covered(path)}
