"""Whether bytes are a pickle: without loading it, by walking its opcodes.

What this can and cannot do: it recognises a pickle at the beginning of a file, whole, cut short, or broken behind its
harm (an unpickler has called by then what it is told to), of any protocol, also in zlib, gzip, bzip2 or xz. It does not
judge what a pickle calls: every scanner that does has been got around. Nor does it look for pickles inside other
content. The defence is that a version holds only known formats, none of which is loaded by unpickling; this is for
telling a user why, and for files that could be read as a pickle as well.

Opcodes: CPython's pickletools. Only the length of each argument is read, never its value, so nothing that an unpickler
accepts and pickletools' own reader does not can end the walk early.
"""

from __future__ import annotations

import bz2
import lzma
import pickletools
import zlib
from typing import Final

from modelyard.protobuf import Buffer

_MAX_OPCODES: Final = 1_000_000
_HEAD: Final = 2**16
_LZMA_MEMORY: Final = 2**26
_HIGHEST_PROTOCOL: Final = b"\x05"
_PROTO: Final = b"\x80"
_OPCODES: Final = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
# What imports, and what calls (BUILD calls __setstate__).
_IMPORTS: Final = frozenset(("GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"))
_CALLS: Final = frozenset(("REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"))
_LENGTHS: Final = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}
_TWO_LINES: Final = "stringnl_noescape_pair"


def is_pickle(content: Buffer) -> bool:
    """Whether ``content`` begins with a pickle that imports, calls, or says its protocol and comes to its end. (A
    pickle of protocol 0 that does none of these is text, and harmless.)"""
    says_protocol = _says_protocol(content[:2])
    offset, imports = 0, False
    stack = _Stack()
    for _ in range(_MAX_OPCODES):
        opcode = _OPCODES.get(content[offset]) if offset < len(content) else None
        if opcode is None or not stack.take(opcode):
            return False
        if opcode.name == "PROTO" and content[offset + 1 : offset + 2] > _HIGHEST_PROTOCOL:
            return False  # here an unpickler stops
        imports = imports or opcode.name in _IMPORTS
        if imports and opcode.name in _CALLS:
            return True
        if opcode.name == "STOP":
            return imports or says_protocol
        offset = _after(content, offset + 1, opcode)
    return True


def is_compressed_pickle(head: bytes) -> bool:
    """Whether ``head``, the beginning of a file, is that of a compressed pickle, as joblib writes them."""
    plain = _decompressed(head)
    # Of a large one the head is not enough to see it call.
    return plain is not None and (is_pickle(plain) or _says_protocol(plain[:2]))


def _says_protocol(head: bytes) -> bool:
    return len(head) == 2 and head[:1] == _PROTO and head[1:] <= _HIGHEST_PROTOCOL


def _after(content: Buffer, offset: int, opcode: pickletools.OpcodeInfo) -> int:
    """Where the argument at ``offset`` ends; beyond the content's end if it is cut short."""
    argument = opcode.arg
    if argument is None:
        return offset
    if argument.n >= 0:
        return offset + argument.n
    if argument.n == pickletools.UP_TO_NEWLINE:
        for _ in range(2 if argument.name == _TWO_LINES else 1):
            newline = content.find(b"\n", offset)
            if newline < 0:
                return len(content)
            offset = newline + 1
        return offset
    width, signed = _LENGTHS[argument.n]
    length = int.from_bytes(content[offset : offset + width], "little", signed=signed)
    return offset + width + length if length >= 0 else len(content)


class _Stack:
    """How much is on an unpickler's stack: text that happens to begin with opcodes soon takes from an empty one."""

    def __init__(self) -> None:
        self._depth = 0
        self._marks: list[int] = []

    def take(self, opcode: pickletools.OpcodeInfo) -> bool:
        """Carry ``opcode`` out; False if what it takes is not there."""
        before, after = opcode.stack_before, opcode.stack_after
        if opcode.name == "MARK":
            self._marks.append(self._depth)
            return True
        needed = len(before)
        if pickletools.markobject in before:
            if not self._marks:
                return False
            needed = before.index(pickletools.markobject)
            mark = self._marks.pop()
            # Between the mark and the slice, which may be empty, OBJ has its class.
            if self._depth - mark < len(before) - needed - 2:
                return False
            self._depth = mark
        elif opcode.name == "POP" and self._marks and self._marks[-1] == self._depth:
            self._marks.pop()
            return True
        if self._depth - (self._marks[-1] if self._marks else 0) < needed:
            return False
        self._depth += len(after) - needed
        return True


def _decompressed(head: bytes) -> bytes | None:
    try:
        if head[:2] == b"\x1f\x8b" or (head[:1] == b"\x78" and len(head) > 1 and (head[0] << 8 | head[1]) % 31 == 0):
            return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(head, _HEAD)
        if head[:3] == b"BZh":
            return bz2.BZ2Decompressor().decompress(head, _HEAD)
        if head[:6] == b"\xfd7zXZ\x00" or head[:3] == b"\x5d\x00\x00":
            return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(head, _HEAD)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
        return None
    return None
