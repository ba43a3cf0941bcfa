"""One file that is being fetched: what is there of it, and how it becomes whole. Survives the process at any byte.

What has arrived is in a file of its own, and beside it a journal says which runs of bytes these are, of which content,
with the digest of each: whoever goes on believes only what still has its digest. Where the content has changed since
(another tag), it begins anew. Whoever goes on renames the folder first, so two never write to one; the journal stays
when the file has gone to its place, so that this is known to be whole by the next one who asks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from modelyard.registry.content.storage import write_all

# Written and put down in the journal at a time: what a killed process loses of each run, at most.
BLOCK: Final = 2**20
_RECORD: Final = struct.Struct(">QQ32s")
_DATA, _JOURNAL = "data", "journal"


class Partial:
    """The file of ``size`` bytes that is to be at ``target``, begun or found in a folder below ``parts``. ``tag`` names
    its content as long as that stays the same; without one nothing is gone on with. Many threads may write."""

    def __init__(self, parts: Path, target: Path, name: str, *, tag: str, size: int) -> None:
        self.target, self.size = target, size
        self._lock = threading.Lock()
        # Of its own, so that nobody looks through those of a hundred thousand others.
        parts = parts / hashlib.sha256(name.encode()).hexdigest()
        head = json.dumps([tag, size]).encode() + b"\n"
        parts.mkdir(parents=True, exist_ok=True)
        self.folder = parts / secrets.token_hex(8)
        self._there: list[tuple[int, int]] = []
        for left in sorted(parts.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                left.rename(self.folder)
                if tag and self._found(head):
                    return
                shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        (self.folder / _JOURNAL).write_bytes(head)
        (self.folder / _DATA).touch()

    @property
    def there(self) -> int:
        """Bytes that are there."""
        return sum(end - start for start, end in self._there)

    @property
    def is_done(self) -> bool:
        """Whether it is at its place."""
        return not (self.folder / _DATA).exists()

    def missing(self) -> Iterator[tuple[int, int]]:
        """The runs of bytes that are not there yet: from, and up to."""
        at = 0
        for start, end in self._there:
            if start > at:
                yield at, start
            at = max(at, end)
        if at < self.size:
            yield at, self.size

    def write(self, offset: int, data: bytes) -> None:
        with (self.folder / _DATA).open("r+b", buffering=0) as file:
            file.seek(offset)
            write_all(file.fileno(), data)
        record = _RECORD.pack(offset, len(data), hashlib.sha256(data).digest())
        with self._lock, (self.folder / _JOURNAL).open("ab", buffering=0) as journal:
            # In one write: a record that is cut off is the last one, and seen to be.
            journal.write(record)

    @property
    def data(self) -> Path:
        """Where its bytes are now."""
        return self.target if self.is_done else self.folder / _DATA

    def finish(self) -> None:
        """Put the whole file to its place, on the disk."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        with (self.folder / _DATA).open("r+b") as file:
            file.truncate(self.size)
            os.fsync(file.fileno())
        (self.folder / _DATA).rename(self.target)

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _found(self, head: bytes) -> bool:
        """Take what an earlier one has left; whether it is of the same content."""
        journal = (self.folder / _JOURNAL).read_bytes()
        if not journal.startswith(head):
            return False
        records = journal[len(head) :]
        whole = len(records) - len(records) % _RECORD.size
        if whole != len(records):
            with (self.folder / _JOURNAL).open("r+b") as file:
                file.truncate(len(head) + whole)
        try:
            with self.data.open("rb", buffering=0) as file:
                if self.is_done and os.fstat(file.fileno()).st_size != self.size:
                    return False
                for offset, size, digest in _RECORD.iter_unpack(records[:whole]):
                    if hashlib.sha256(os.pread(file.fileno(), size, offset)).digest() == digest:
                        self._there.append((offset, offset + size))
        except FileNotFoundError:
            return False
        self._there = _merged(self._there)
        # One at its place is whole or nothing.
        return not self.is_done or self.there == self.size


def _merged(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(runs):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged
