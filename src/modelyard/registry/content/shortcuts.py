"""Shorter ways to the parts of a version: encoded chunks (:mod:`modelyard.registry.content.deltas`) that a store keeps
beside the parts themselves, for those who have the base of a part already, or a slow line.

They are a record of their own beside the index. Nothing depends on it: one that is damaged or gone costs bytes.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from modelyard.domain.errors import ModelyardError, Unavailable
from modelyard.registry.content.chunks import CHUNK
from modelyard.registry.content.manifest import MAX_OFFSET, Extent, Manifest, hex_of, is_hex, is_key
from modelyard.registry.content.storage import Missing, Storage
from modelyard.registry.content.stored import name_of

log = logging.getLogger(__name__)

# No chunk is encoded in more bytes: whoever reads it has them in memory.
_MOST: Final = 2 * CHUNK
# What is read at once of a pack.
_RANGE: Final = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A part's chunks, encoded, one after the other from ``offset`` of an object on, so many bytes each; against the
    part ``base`` (its root), or each by itself (empty)."""

    base: str
    key: str
    offset: int
    lengths: tuple[int, ...]

    @property
    def size(self) -> int:
        return sum(self.lengths)

    def extents(self) -> Iterator[Extent]:
        """Where each encoded chunk is."""
        offset = self.offset
        for length in self.lengths:
            yield Extent(self.key, offset, length)
            offset += length


# By the root of the part that they lead to.
Shortcuts = Mapping[str, tuple[Shortcut, ...]]


def shortcuts_name(digest: str) -> str:
    name = hex_of(digest)
    return f"shortcuts/{name[:2]}/{name}"


def encode_shortcuts(shortcuts: Shortcuts) -> bytes:
    """A SHA-256 of what follows it, as of an index; then the shortcuts."""
    listed = {root: [(s.base, s.key, s.offset, s.lengths) for s in ways] for root, ways in sorted(shortcuts.items())}
    body = msgspec.json.encode(listed)
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def write_shortcuts(storage: Storage, digest: str, shortcuts: Shortcuts) -> None:
    """Where the store does not take them, it has none. Raises Unavailable."""
    try:
        storage.write(shortcuts_name(digest), [encode_shortcuts(shortcuts)])
    except Unavailable:
        raise
    except ModelyardError as error:
        log.warning("Without shortcuts to %s, which the store did not take: %s", digest, error.message)


def read_shortcuts(storage: Storage, digest: str, manifest: Manifest) -> Shortcuts:
    """Those that can be used for the version with this manifest; none where there is no record, or a damaged one.
    Raises Unavailable."""
    key = storage.latest(shortcuts_name(digest))
    if key is None:
        return {}
    try:
        read = decode_shortcuts(bytes(storage.read(key)))
    except Missing:
        return {}
    return fitting(read or {}, manifest)


def fitting(shortcuts: Shortcuts, manifest: Manifest) -> Shortcuts:
    """Those of them that lead to parts of the version, chunk by chunk."""
    return {
        root: ways
        for root, ways in shortcuts.items()
        if root in manifest.chunks and all(len(way.lengths) == manifest.chunks[root].count for way in ways)
    }


def merged(there: Shortcuts, sent: Shortcuts, storage: Storage) -> Shortcuts:
    """All that are ``sent``, and of those that are ``there`` the ones whose packs are whole, which become young. What
    two have stored of the same under keys of their own is one. Raises Unavailable."""
    others = {way.key for root, ways in there.items() for way in ways if way not in sent.get(root, ())}
    whole = {key for key in others if storage.touch(key) and is_whole_pack(storage, key)}
    found: dict[str, tuple[Shortcut, ...]] = {}
    for root in (*there, *(root for root in sent if root not in there)):
        sent_ways = sent.get(root, ())
        kept = [way for way in there.get(root, ()) if way in sent_ways or way.key in whole]
        by_name = {replace(way, key=name_of(way.key)): way for way in (*sent_ways, *kept)}
        if by_name:
            found[root] = tuple(by_name.values())
    return found


def is_whole_pack(storage: Storage, key: str) -> bool:
    """Whether a pack is what its name says, which is its SHA-256. Raises Unavailable."""
    digest, offset = hashlib.sha256(), 0
    try:
        while data := storage.read(key, offset, _RANGE):
            digest.update(data)
            offset += len(data)
    except Missing:
        return False
    return digest.hexdigest() == name_of(key).rpartition("/")[2]


def decode_shortcuts(document: bytes) -> Shortcuts | None:
    """The record as it was written; None where it is damaged, or says what none says."""
    told, _, body = document.partition(b"\n")
    if told != hashlib.sha256(body).hexdigest().encode():
        return None
    try:
        read = msgspec.json.decode(body, type=dict[str, list[tuple[str, str, int, tuple[int, ...]]]])
    except msgspec.DecodeError:
        return None
    found = {root: tuple(Shortcut(*way) for way in ways) for root, ways in read.items()}
    return found if all(is_hex(root) and all(map(_is_one, ways)) for root, ways in found.items()) else None


def _is_one(way: Shortcut) -> bool:
    """Anybody may have written it: its key becomes a path, its lengths become memory."""
    return (
        (not way.base or is_hex(way.base))
        and is_key(way.key)
        and 0 <= way.offset < MAX_OFFSET
        and all(0 < length <= _MOST for length in way.lengths)
    )
