"""Zip files read with care: what is in them, within bounds, before a byte of it is unpacked.

Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. Bombs: David Fifield, "A better zip bomb" (2019),
whose members overlap.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from modelyard.registry.formats.parts import Malformed

# Up to here anything may be packed as tightly as it likes; beyond, no more than MAX_RATIO to one.
FREE_SIZE: Final = 2**26
MAX_RATIO: Final = 100
# Of the table of contents, which zipfile reads into memory at some ten times its size: room for 100,000 names.
_MAX_TABLE: Final = 2**24
_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64: Final = struct.Struct("<4sLQL")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_FAILURES: Final = (
    zipfile.BadZipFile,
    NotImplementedError,
    UnicodeDecodeError,
    ValueError,
    struct.error,
    OverflowError,
)


def is_zip(path: Path) -> bool:
    """Whether the file can be read as a zip with something in it: by its end, whatever it begins with."""
    with path.open("rb") as file:
        try:
            with _zip(file, os.fstat(file.fileno()).st_size) as content:
                return bool(content.infolist())
        except Malformed:
            return False


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip at ``path``, its table of contents read and checked: members apart from one another, bounded in number
    by the size of the table, and in size by :data:`MAX_RATIO`.

    Raises:
        Malformed: it is not a zip, or made to harm
        OSError: it cannot be read
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        with _zip(file, size) as content:
            _check_packing(content.infolist(), size)
            _check_apart(file, content)
            yield content


def head_of(content: zipfile.ZipFile, member: zipfile.ZipInfo, size: int) -> bytes:
    """The first ``size`` bytes of a member.

    Raises:
        Malformed: it is damaged, encrypted, or packed in a way that is not known
    """
    try:
        with content.open(member) as file:
            return file.read(size)
    except (*_FAILURES, RuntimeError, EOFError, zlib.error) as error:
        raise Malformed(f"its member {member.filename!r} cannot be read: {error}") from error


def too_tight(unpacked: int, packed: int) -> bool:
    """Whether so much comes out of so little that it is made to fill a disk."""
    return unpacked > FREE_SIZE and unpacked > MAX_RATIO * packed


def _zip(file: IO[bytes], size: int) -> zipfile.ZipFile:
    if _table_size(file, size) > _MAX_TABLE:
        raise Malformed("its table of contents is too large")
    try:
        return zipfile.ZipFile(file)
    except _FAILURES as error:
        raise Malformed(f"it is not a whole zip: {error}") from error


def _check_packing(members: list[zipfile.ZipInfo], size: int) -> None:
    for member in members:
        # The others are hardly used, and LZMA takes gigabytes of memory where the file says so.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Malformed(f"its member {member.filename!r} is packed otherwise than by deflate")
    unpacked = sum(member.file_size for member in members)
    if too_tight(unpacked, size):
        raise Malformed(f"it would unpack to {unpacked} bytes, over {MAX_RATIO} times its size")


def _check_apart(file: IO[bytes], content: zipfile.ZipFile) -> None:
    """That no byte belongs to two members, and nothing else comes first."""
    end, previous = 0, ""
    members = sorted(content.infolist(), key=lambda member: member.header_offset)
    if members and members[0].header_offset > 0:
        raise Malformed("something lies before its first member")
    for member in members:
        if member.header_offset < end:
            raise Malformed(f"its members {previous!r} and {member.filename!r} overlap")
        file.seek(member.header_offset)
        header = file.read(_LOCAL.size)
        if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
            raise Malformed(f"its member {member.filename!r} is not where its table says")
        *_, name, extra = _LOCAL.unpack(header)
        end = member.header_offset + _LOCAL.size + name + extra + member.compress_size
        previous = member.filename
    if end > content.start_dir:
        raise Malformed(f"its member {previous!r} reaches into its table of contents")


def _table_size(file: IO[bytes], size: int) -> int:
    """The size of the table of contents, as zipfile will find it."""
    tail_size = min(size, _END.size + 2**16)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    position = tail_size - _END.size
    if position < 0 or tail[position : position + 4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        position = tail.rfind(b"PK\x05\x06")
    if position < 0 or len(tail) - position < _END.size:
        raise Malformed("it is not a zip")
    table = int(_END.unpack_from(tail, position)[5])
    locator = size - tail_size + position - _LOCATOR64.size
    if locator >= 0:
        file.seek(locator)
        signature, *_ = _LOCATOR64.unpack(file.read(_LOCATOR64.size))
        if signature == b"PK\x06\x07":
            # Where zipfile looks for the record: right before its locator, whatever the locator says.
            place = locator - _END64.size
            if place >= 0:
                file.seek(place)
                record = _END64.unpack(file.read(_END64.size))
                table = int(record[8]) if record[0] == b"PK\x06\x06" else table
    return table
