"""What somebody else sends for a store: kept only under a name that it proves.

Every name of a store says what is under it. ``objects/…`` carry the root over their chunks (and a digest of what is
before these), ``packs/…`` and ``manifests/…`` a SHA-256: what is sent for them is hashed while it is written, and
never becomes an object if it is anything else, so that it can only ever replace the same bytes. An index proves
nothing by itself. One that comes before its manifest waits under a name that nobody reads; it becomes the version's
index when the manifest comes, after each part was found where it says.
"""

from __future__ import annotations

import hashlib
import re
import struct
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import Final

from modelyard.domain.errors import InvalidRequest, Problem, Unavailable
from modelyard.registry.content.chunks import CHUNK, Buffer, Chunks, matches
from modelyard.registry.content.manifest import (
    Damaged,
    Extent,
    Index,
    Manifest,
    Part,
    decode,
    decode_index,
    is_key,
)
from modelyard.registry.content.shortcuts import decode_shortcuts, encode_shortcuts, fitting, merged
from modelyard.registry.content.storage import AGAIN, Missing, Storage
from modelyard.registry.content.stored import chunks_at, index_name, name_of, object_name, read_manifest

# How what is sent tells where its pieces end: before each, its length. No piece is longer than a chunk.
PIECE: Final = struct.Struct(">I")
# Bytes of a manifest, an index or shortcuts. A manifest has 43 for each chunk: 82 MB for a version of 2 TB, and some 35
# MB more where that has a hundred thousand tensors.
MAX_RECORD: Final = 128 * 2**20
# What arrives of a record waits on the disk. One at a time is read: that takes several times its size in memory, and
# keeps other threads waiting.
_IN_MEMORY: Final = 2**20
_ONE: Final = Lock()
# What is read at once of an object of which many chunks are looked at.
_WINDOW: Final = 8 * 2**20
_RECORD: Final = re.compile(r"(manifests|indexes|shortcuts)/([0-9a-f]{2})/(\2[0-9a-f]{62})")


def is_name(text: str) -> bool:
    """Whether something may be written under this name."""
    return (is_key(text) and AGAIN not in text) or _RECORD.fullmatch(text) is not None


def framed(pieces: Iterable[Buffer]) -> Iterator[bytes]:
    """How pieces are sent. Those that are longer than a chunk are cut: only of objects it matters where they end, and
    there none is."""
    for piece in pieces:
        view = memoryview(piece)
        for offset in range(0, len(view), CHUNK):
            part = view[offset : offset + CHUNK]
            yield b"".join((PIECE.pack(len(part)), part))


def unframed(body: Iterable[Buffer]) -> Iterator[bytes]:
    """The pieces that were sent; ``body`` may be cut anywhere. Raises InvalidRequest where it is not made of pieces."""
    held = bytearray()
    for some in body:
        held += some
        start = 0
        while len(held) - start >= PIECE.size:
            (length,) = PIECE.unpack_from(held, start)
            if not 0 < length <= CHUNK:
                raise _refused("malformed", f"A piece of {length} bytes: each has from 1 to {CHUNK}.")
            if len(held) - start - PIECE.size < length:
                break
            start += PIECE.size + length
            yield bytes(memoryview(held)[start - length : start])
        del held[:start]
    if held:
        raise _refused("malformed", "It ends in the middle of a piece.")


def receive(storage: Storage, name: str, body: Iterable[Buffer]) -> str:
    """Write what is sent, framed, under ``name`` (:func:`is_name`); its key.

    Raises:
        InvalidRequest: it is not what the name says; nothing was written
        Unavailable: the store fails
    """
    kind, _, rest = name.partition("/")
    label, pieces = rest.partition("/")[2], unframed(body)
    if kind == "objects":
        return storage.write(name, _object(label, pieces))
    if kind == "packs":
        return storage.write(name, _pack(label, pieces))
    take = {"manifests": _receive_manifest, "indexes": _receive_index, "shortcuts": _receive_shortcuts}[kind]
    with SpooledTemporaryFile(_IN_MEMORY) as sent:
        _spool(pieces, sent)
        with _ONE:
            sent.seek(0)
            return take(storage, name, f"sha256:{label}", sent.read())


def _refused(code: str, message: str) -> InvalidRequest:
    return InvalidRequest([Problem("body", code, message)])


# ------------------------------------------------------------------------------------------------ bytes of parts


def _object(label: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    root, _, tag = label.partition(".")
    if tag:
        header = next(pieces, b"")
        if object_name(root, header).rpartition(".")[2] != tag:
            raise _refused("other_content", "What is before the part is not what the name says.")
        yield header
    digests, lengths = bytearray(), []
    for piece in pieces:
        digests += hashlib.sha256(piece).digest()
        lengths.append(len(piece))
        yield piece
    if Chunks(sum(lengths), bytes(digests), tuple(lengths)).root != root:
        raise _refused("other_content", "The part that was sent is not the one of this name.")


def _pack(label: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        yield piece
    if digest.hexdigest() != label:
        raise _refused("other_content", "What was sent has another digest than its name says.")


# ------------------------------------------------------------------------------------------------ records


def _spool(pieces: Iterator[bytes], sent: SpooledTemporaryFile[bytes]) -> None:
    for piece in pieces:
        if sent.tell() + len(piece) > MAX_RECORD:
            raise _too_large()
        try:
            sent.write(piece)
        except OSError as error:
            raise Unavailable(f"There is no room for temporary files: {error.strerror or error}.") from error


def _too_large() -> InvalidRequest:
    return _refused("too_large", f"A record of a version has {MAX_RECORD} bytes at most.")


def _waiting(storage: Storage, digest: str) -> list[str]:
    """The keys of the indexes that wait for the manifest, the last one first: whoever sent it is the likeliest to send
    that, too."""
    found = sorted(storage.find(_waiting_name(digest)), key=lambda entry: entry.modified, reverse=True)
    return [entry.key for entry in found]


def _waiting_name(digest: str) -> str:
    return index_name(digest).replace("indexes/", "waiting/", 1)


def _receive_manifest(storage: Storage, name: str, digest: str, record: bytes) -> str:
    try:
        manifest = decode(record, digest)
    except Damaged as error:
        raise _refused("other_content", error.message) from error
    # Where the manifest is, its index came straight; one that waits was used before, and a bucket still has it.
    waiting = [] if _has(storage, name, record) else _waiting(storage, digest)
    own = storage.latest(index_name(digest))
    refusal = _refused("no_index", "Send the version's index before its manifest.")
    for number, key in enumerate([*waiting, *([own] if own else [])]):
        try:
            index = bytes(storage.read(key))
            _check_index(storage, manifest, decode_index(index, digest))
            break
        except Missing:  # another one has used it
            continue
        except Damaged as error:
            reason = _refused("other_content", error.message)
        except InvalidRequest as error:
            reason = error
        refusal = reason if not number else refusal
    else:
        raise refusal
    if key in waiting:
        storage.write(index_name(digest), [index])
    written = storage.write(name, [record])
    for key in waiting:
        storage.remove(key, sys.float_info.max)
    return written


def _has(storage: Storage, name: str, record: bytes) -> bool:
    """Whether this is there, whole."""
    key = storage.latest(name)
    try:
        return key is not None and storage.read(key) == record
    except Missing:
        return False


def _receive_index(storage: Storage, name: str, digest: str, record: bytes) -> str:
    try:
        index = decode_index(record, digest)
    except Damaged as error:
        raise _refused("other_content", error.message) from error
    manifest = _manifest(storage, digest)
    if manifest is None:
        # Anybody may send one for any version: none takes another's place.
        waiting = f"{_waiting_name(digest)}.{hashlib.sha256(record).hexdigest()[:16]}"
        return storage.write(waiting, [record])
    _check_index(storage, manifest, index)
    return storage.write(name, [record])


def _manifest(storage: Storage, digest: str) -> Manifest | None:
    """None also for a damaged one, which is mended as it was made: after its index."""
    try:
        return read_manifest(storage, digest)
    except (Missing, Damaged):
        return None


def _receive_shortcuts(storage: Storage, name: str, digest: str, record: bytes) -> str:
    """Nothing depends on them, but they save bytes: those that are there stay as long as what they lead to does."""
    sent, manifest = decode_shortcuts(record), _manifest(storage, digest)
    if sent is None or (manifest is not None and fitting(sent, manifest) != sent):
        raise _refused("malformed", "These are no shortcuts to parts of the version.")
    key = storage.latest(name)
    try:
        there = decode_shortcuts(bytes(storage.read(key))) if key is not None else None
    except Missing:
        there = None
    document = encode_shortcuts(merged(there or {}, sent, storage))
    if len(document) > MAX_RECORD:
        raise _too_large()
    return storage.write(name, [document])


def _check_index(storage: Storage, manifest: Manifest, index: Index) -> None:
    """Find each part where the index says, in objects that are young from then on: a collection of garbage that has
    looked before does not remove them. An object that carries a part's own root was checked when it was written; of all
    others the chunks are read."""
    looked_at: defaultdict[str, list[tuple[Extent, bytes, str]]] = defaultdict(list)
    parts = list(manifest.parts())
    keys = sorted({at.key for extents in index.values() for at in extents})
    with ThreadPoolExecutor(storage.at_once, thread_name_prefix="look") as pool:
        for key, is_there in zip(keys, pool.map(storage.touch, keys), strict=True):
            if not is_there:
                raise _missing(key)
        own = list(pool.map(lambda part: _is_own(storage, part, index.get(part.root, ())), parts))
    for part in (part for part, is_own in zip(parts, own, strict=True) if not is_own):
        chunks = manifest.chunks[part.root]
        for number, at in enumerate(chunks_at(chunks, index.get(part.root, ()))):
            if at is None:
                raise _refused("other_content", f"The index does not say where all of part {part.root} is.")
            looked_at[at.key].append((at, chunks.digest(number), part.root))
    if not index.keys() <= manifest.chunks.keys():
        raise _refused("other_content", "The index tells of parts that the version has not.")
    for key, wanted in looked_at.items():
        wanted.sort(key=lambda one: one[0].offset)
        for run in _windows(wanted):
            _check_run(storage, key, run)


def _missing(key: str) -> InvalidRequest:
    return _refused("missing_content", f"The store has no {key}: send what the index names before it.")


def _is_own(storage: Storage, part: Part, extents: Sequence[Extent]) -> bool:
    if len(extents) != 1 or extents[0].size != part.size:
        return False
    at = extents[0]
    own = name_of(at.key).partition(".")[0] == object_name(part.root, b"")
    return own and storage.size(at.key) == at.offset + at.size


def _windows(
    wanted: Sequence[tuple[Extent, bytes, str]],
) -> Iterator[list[tuple[Extent, bytes, str]]]:
    run: list[tuple[Extent, bytes, str]] = []
    for one in wanted:
        if run and one[0].offset + one[0].size - run[0][0].offset > _WINDOW:
            yield run
            run = []
        run.append(one)
    yield run


def _check_run(storage: Storage, key: str, run: Sequence[tuple[Extent, bytes, str]]) -> None:
    first, end = run[0][0].offset, max(at.offset + at.size for at, _, _ in run)
    try:
        data = memoryview(storage.read(key, first, end - first))
    except Missing as error:
        raise _missing(key) from error
    for at, digest, root in run:
        if not matches(data[at.offset - first : at.offset - first + at.size], digest):
            raise _refused("other_content", f"Part {root} is not where the index says, in {key}.")
