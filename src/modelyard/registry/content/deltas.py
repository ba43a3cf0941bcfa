"""A chunk said in fewer bytes: by what changed since another part, or compressed where there is no other.

Weights that were trained on change in few bits. What a chunk and its base differ in (XOR) is mostly zeros: where few
values changed, the distances between them and the values themselves; else the first bytes of all values, then the
second ones, and so on, for these are alike. Either is compressed (Zstandard, level 1: more gains little and takes
long). Nothing here is trusted: whoever decodes a chunk compares it with its digest.

An encoded chunk is a run of segments, each :data:`_HEAD` and its payload.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from modelyard.registry.content.chunks import CHUNK, Buffer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Kind, bytes of a value, bytes of the chunk, offset in the base, bytes of the payload.
_HEAD: Final = struct.Struct(">BBIQI")
_LEVEL: Final = 1
# In more values than this changes are not listed one by one.
_FEW: Final = 0.25
# A distance from one changed value to the next; this one: so far, and no change there.
_FAR: Final = 255
WIDTHS: Final = (1, 2, 4, 8)


class _Kind(IntEnum):
    COPY = 0  # the base's bytes
    SPARSE = 1  # the base's bytes, some values changed
    XOR = 2  # the base's bytes, most values changed
    PLANES = 3  # compressed by itself
    RAW = 4


class Undecodable(ValueError):
    """These bytes encode no chunk."""


# Reads so many bytes at an offset of the base.
ReadBase = Callable[[int, int], Buffer]


@dataclass(frozen=True, slots=True)
class Match:
    """``size`` bytes of a part, from ``offset`` on, that are much like those from ``base`` on of another part; None:
    like none."""

    offset: int
    size: int
    base: int | None


def encode(target: Buffer, offset: int, matches: Sequence[Match], base: ReadBase, width: int) -> bytes:
    """The chunk ``target`` that lies at ``offset`` of its part. ``matches`` cover the part; ``width`` is how many
    bytes a value has (one of :data:`WIDTHS`)."""
    view, pieces = memoryview(target), []
    for match in matches:
        start, end = max(match.offset, offset), min(match.offset + match.size, offset + len(view))
        if start >= end:
            continue
        piece = view[start - offset : end - offset]
        if match.base is None:
            pieces.append(_alone(piece, width))
        else:
            at = match.base + start - match.offset
            pieces.append(_against(piece, at, base(at, len(piece)), width))
    return b"".join(pieces)


def decode(encoded: Buffer, size: int, base: ReadBase | None) -> bytes:
    """The chunk of ``size`` bytes; ``base`` None: none is at hand.

    Raises:
        Undecodable
        OSError: from ``base``
    """
    if not 0 <= size <= CHUNK:
        raise Undecodable("no chunk has this size")
    pieces, left = [], size
    for kind, width, length, at, payload in _segments(encoded):
        if length > left or width not in WIDTHS:
            raise Undecodable("a segment is too long")
        left -= length
        if kind in (_Kind.PLANES, _Kind.RAW):
            pieces.append(bytes(payload) if kind == _Kind.RAW else _joined(_unpacked(payload, length), width))
        elif base is None:
            raise Undecodable("it needs a base")
        else:
            pieces.append(_changed(kind, base(at, length), payload, width))
        if len(pieces[-1]) != length:
            raise Undecodable("a segment has another length")
    if left:
        raise Undecodable("segments are missing")
    return b"".join(pieces)


def matched(old: int, new: int, prefix: int, suffix: int) -> tuple[Match, ...]:
    """How a part of ``new`` bytes lies on one of ``old`` bytes, of which it has the first ``prefix`` and, where their
    sizes differ, the last ``suffix`` bytes."""
    if old == new:
        return (Match(0, new, 0),)
    suffix = min(suffix, old - prefix, new - prefix)
    found = (
        Match(0, prefix, 0),
        Match(prefix, new - prefix - suffix, None),
        Match(new - suffix, suffix, old - suffix),
    )
    return tuple(match for match in found if match.size)


# ------------------------------------------------------------------------------------------------ encoding


def _segment(kind: _Kind, width: int, length: int, at: int, payload: bytes) -> bytes:
    return _HEAD.pack(kind, width, length, at, len(payload)) + payload


def _alone(piece: memoryview, width: int) -> bytes:
    packed = _packed(_planes(piece, width))
    if len(packed) >= len(piece):
        return _segment(_Kind.RAW, 1, len(piece), 0, bytes(piece))
    return _segment(_Kind.PLANES, width, len(piece), 0, packed)


def _against(piece: memoryview, at: int, base: Buffer, width: int) -> bytes:
    import numpy as np

    if piece == base:
        return _segment(_Kind.COPY, 1, len(piece), at, b"")
    if len(piece) % width:
        width = 1
    kind = np.dtype(f"<u{width}")
    changes = np.frombuffer(piece, kind) ^ np.frombuffer(base, kind)
    positions = np.flatnonzero(changes)
    if len(positions) < _FEW * len(changes):
        distances, values = _distances(positions), changes[positions]
        listed = _packed(distances)
        payload = struct.pack(">III", len(distances), len(values), len(listed)) + listed
        payload += _packed(_planes(values.tobytes(), width))
        return _segment(_Kind.SPARSE, width, len(piece), at, payload)
    payload = _packed(_planes(changes.tobytes(), width))
    alone = _alone(piece, width)
    return alone if len(alone) <= len(payload) else _segment(_Kind.XOR, width, len(piece), at, payload)


def _distances(positions: NDArray[np.int64]) -> bytes:
    """From each changed value to the next one, a byte each; far ones in several."""
    import numpy as np

    gaps = np.diff(positions, prepend=-1) - 1
    ends = np.cumsum(gaps // _FAR + 1) - 1
    listed = np.full(int(ends[-1]) + 1 if len(ends) else 0, _FAR, np.uint8)
    listed[ends] = gaps % _FAR
    return listed.tobytes()


def _planes(data: Buffer, width: int) -> bytes:
    """The first bytes of all values, then the second ones, …; and what is left over."""
    if width == 1 or len(data) % width:
        return bytes(data)
    return b"".join(bytes(memoryview(data)[number::width]) for number in range(width))


def _packed(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False).compress(data)


# ------------------------------------------------------------------------------------------------ decoding


def _segments(encoded: Buffer) -> Iterator[tuple[int, int, int, int, memoryview]]:
    rest = memoryview(encoded)
    while rest:
        if len(rest) < _HEAD.size:
            raise Undecodable("it is cut off")
        kind, width, length, at, size = _HEAD.unpack_from(rest)
        payload = rest[_HEAD.size : _HEAD.size + size]
        if len(payload) != size or not length:
            raise Undecodable("it is cut off")
        yield kind, width, length, at, payload
        rest = rest[_HEAD.size + size :]


def _changed(kind: int, base: Buffer, payload: memoryview, width: int) -> bytes:
    if kind == _Kind.COPY:
        return bytes(base)
    import numpy as np

    if len(base) % width:
        raise Undecodable("its values have another width")
    dtype = np.dtype(f"<u{width}")
    if kind == _Kind.XOR:
        changes = np.frombuffer(_joined(_unpacked(payload, len(base)), width), dtype)
        return bytes((np.frombuffer(base, dtype) ^ changes).data)
    if kind != _Kind.SPARSE or len(payload) < 12:
        raise Undecodable("it is of an unknown kind")
    steps, count, size = struct.unpack_from(">III", payload)
    whole = np.frombuffer(base, dtype).copy()
    if steps > len(whole) or count > steps:
        raise Undecodable("it changes more values than there are")
    listed = np.frombuffer(_unpacked(payload[12 : 12 + size], steps), np.uint8)
    values = np.frombuffer(_joined(_unpacked(payload[12 + size :], count * width), width), dtype)
    ends = np.flatnonzero(listed != _FAR)
    positions = np.cumsum(listed, dtype=np.int64)[ends] + np.arange(len(ends))
    if len(ends) != count or (count and positions[-1] >= len(whole)):
        raise Undecodable("it changes values that are not there")
    whole[positions] ^= values
    return whole.tobytes()


def _joined(planes: bytes, width: int) -> bytes:
    """The values of whose first, second, … bytes these are the runs."""
    if width == 1 or len(planes) % width:
        return planes
    values, count = bytearray(len(planes)), len(planes) // width
    for number in range(width):
        values[number::width] = planes[number * count : (number + 1) * count]
    return bytes(values)


def _unpacked(payload: memoryview, size: int) -> bytes:
    import zstandard

    try:
        # The size that it claims itself may be anything: read no further than is wanted.
        with zstandard.ZstdDecompressor(max_window_size=2 * CHUNK).stream_reader(payload) as reader:
            data = reader.read(size)
    except zstandard.ZstdError as error:
        raise Undecodable(f"it is not compressed as it should be: {error}") from error
    if len(data) != size:
        raise Undecodable("it has fewer bytes than it should")
    return data
