"""The wire format of protocol buffers, as far as it takes to find where in a file a message's parts lie.

Nothing is decoded or copied that the caller does not ask for, so a model of gigabytes costs as little as its graph.
Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Final, NamedTuple

Buffer = mmap.mmap | bytes

VARINT: Final = 0
LENGTH_DELIMITED: Final = 2
_FIXED: Final = {1: 8, 5: 4}


class Malformed(ValueError):
    """Not protobuf."""


class Field(NamedTuple):
    """A field whose tag begins at ``begin`` and whose value (of a length-delimited one: without its length) is
    ``first`` to ``last``."""

    number: int
    wire: int
    begin: int
    first: int
    last: int


class Fields:
    """Reads the fields of ``content``'s messages; refuses to go on after ``limit`` of them (about a second each
    million), which a file made to take for ever would have."""

    def __init__(self, content: Buffer, limit: int) -> None:
        self._content = content
        self._left = limit

    def within(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message from ``start`` to ``end``, in order.

        Raises:
            Malformed: it is not protobuf, or too much of it
        """
        content, offset = self._content, start
        while offset < end:
            self._left -= 1
            if self._left < 0:
                raise Malformed("it has too many parts")
            begin = offset
            tag, offset = varint(content, offset, end)
            wire = tag & 7
            if wire == LENGTH_DELIMITED:
                length, offset = varint(content, offset, end)
                last = offset + length
            elif wire == VARINT:
                _, last = varint(content, offset, end)
            elif wire in _FIXED:
                last = offset + _FIXED[wire]
            else:
                raise Malformed(f"a field of wire type {wire}")
            if last > end:
                raise Malformed("it ends too early")
            yield Field(tag >> 3, wire, begin, offset, last)
            offset = last


def varint(content: Buffer, offset: int, end: int) -> tuple[int, int]:
    """The number at ``offset`` and the offset behind it.

    Raises:
        Malformed: it does not end before ``end``, or is longer than 64 bits
    """
    value = shift = 0
    while offset < end and shift < 64:
        byte = content[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, offset
        shift += 7
    raise Malformed("it ends too early" if offset >= end else "a number is too long")


def encoded_varint(value: int) -> bytes:
    """``value``, not negative, as a varint."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encoded_field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return encoded_varint(number << 3 | LENGTH_DELIMITED) + encoded_varint(len(content)) + content
