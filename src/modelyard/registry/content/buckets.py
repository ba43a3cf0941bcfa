"""A store in a bucket: S3, Google Cloud Storage or Azure Blob Storage.

An object store has no rename and touches nothing, so what a folder does in one step takes marks here: empty objects
``touched/<key>``, whose time is when the object was last touched, and ``condemned/<key>``, whose time is when a
collection of garbage first wanted it gone. Why no touch loses to a removal, though each is several requests that may
be far apart, or be repeated:

1. A key never comes back: each write has its own. So it harms nobody that an object is deleted twice, or late.
2. A condemnation is final: it goes after its object, never before. Who finds one writes the object anew instead.
3. ``touch`` says yes only if the object was not condemned *after* its mark was written, and is there after that. So
   whatever was touched with success was condemned later than that, if at all.
4. An object is deleted only if it was condemned before ``before``, which is a grace ago. With 3, whoever touched it
   with success did so even earlier, and the grace in which it had to be published is over: the collection has asked
   after that what is in use.

A touch just before a condemnation may succeed all the same. Then the object stays for what was published meanwhile, and
who comes later writes it once more. Times are the bucket's own; ``before`` comes from this machine, whose clock is
compared with the bucket's.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from obstore.exceptions import AlreadyExistsError, BaseError

from modelyard.domain.errors import Unavailable
from modelyard.registry.content.bucket_errors import bucket_errors, is_past_the_end
from modelyard.registry.content.chunks import Buffer
from modelyard.registry.content.direct import LEAST, Direct
from modelyard.registry.content.storage import AGAIN, Entry, Missing, Store

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore

_TOUCHED: Final = "touched/"
_CONDEMNED: Final = "condemned/"
_IDENTITY: Final = "store.id"
_CLOCK: Final = "clock"
# An upload has at most 10,000 parts on S3, so this bounds an object at 156 GiB; and so many are in memory at a time.
_PART: Final = 16 * 2**20
_PARTS_AT_ONCE: Final = 2
# Seconds by which this machine's clock may differ from the bucket's: little of any grace.
_SKEW: Final = 60.0
_PAGE: Final = 1000


class Bucket(Store):
    """A store in a bucket, or below a prefix of it. ``url`` is for messages; ``uploads`` is the same place with the
    time that an upload may take, ``direct`` the same place where its chunks can be read faster."""

    waits = True
    at_once = 16

    def __init__(
        self, store: ObjectStore, url: str, *, uploads: ObjectStore | None = None, direct: Direct | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store, self._uploads, self._direct, self._clock = store, uploads or store, direct, clock
        self.url = url

    def identity(self) -> str:
        with bucket_errors(self.url):
            found = self._identity()
            if found is None:
                with contextlib.suppress(AlreadyExistsError):
                    # Only one of those who do this at once does it.
                    self._store.put(_IDENTITY, secrets.token_hex(16).encode(), mode="create")
                found = self._identity()
        if found is None or not re.fullmatch(rb"[0-9a-f]{32}", found):
            raise Unavailable(f"{self.url}/{_IDENTITY} is damaged: remove it, and another one is made.")
        return found.decode()

    def has_identity(self, identity: str) -> bool:
        with bucket_errors(self.url):
            return self._identity() == identity.encode()

    def _identity(self) -> bytes | None:
        try:
            with bucket_errors(self.url, _IDENTITY):
                return bytes(self._store.get(_IDENTITY).bytes())
        except Missing:
            return None

    def find(self, prefix: str) -> Iterator[Entry]:
        with bucket_errors(self.url):
            found = [meta for meta in self._list(prefix) if _is_object(meta["path"])]
            touched = self._marks(_TOUCHED, prefix) if found else {}
            condemned = self._marks(_CONDEMNED, prefix) if found else {}
        for meta in sorted(found, key=lambda meta: meta["path"]):
            key = meta["path"]
            yield Entry(key, meta["size"], max(_time(meta), touched.get(key, 0.0)), condemned.get(key))

    def _list(self, prefix: str) -> Iterator[ObjectMeta]:
        # A prefix of the library's is whole folders; within the last one it begins after what sorts before all that
        # begins so.
        folder, _, start = prefix.rpartition("/")
        for page in self._store.list(folder or None, offset=prefix[:-1] if start else None, chunk_size=_PAGE):
            yield from (meta for meta in page if meta["path"].startswith(prefix))

    def _marks(self, kind: str, prefix: str) -> dict[str, float]:
        return {meta["path"].removeprefix(kind): _time(meta) for meta in self._list(kind + prefix)}

    def latest(self, name: str) -> str | None:
        with bucket_errors(self.url):
            found = [(_time(meta), meta["path"]) for meta in self._list(name + AGAIN)]
        return max(found)[1] if found else None

    def size(self, key: str) -> int | None:
        with bucket_errors(self.url):
            found = self._head(key)
        return None if found is None else found["size"]

    def read(self, key: str, offset: int = 0, size: int | None = None) -> Buffer:
        with bucket_errors(self.url, key):
            try:
                if size:
                    # What the library gives is a view of its own memory.
                    return memoryview(self._store.get_range(key, start=offset, length=size))
                if size is None:
                    options: GetOptions = {"range": {"offset": offset}} if offset else {}
                    return memoryview(self._store.get(key, options=options).bytes())
            except BaseError as error:
                # From its end on there is no range of an object, and of an empty one there is none at all.
                if not is_past_the_end(error):
                    raise
                return b""
            self._store.head(key)
        return b""

    def pieces(self, key: str, offset: int, sizes: Sequence[int]) -> Iterator[Buffer]:
        there = 0
        if self._direct is not None and sum(sizes) >= LEAST:
            for piece in self._direct.pieces(key, offset, sizes):
                yield piece
                there, offset = there + 1, offset + len(piece)
        if there < len(sizes):
            yield from super().pieces(key, offset, sizes[there:])

    def write(self, name: str, pieces: Iterable[Buffer]) -> str:
        key = f"{name}{AGAIN}{_apart()}"
        rest = iter(pieces)
        # Most objects are small, and then one request is enough.
        first: list[Buffer] = []
        size = 0
        for piece in rest:
            first.append(piece)
            size += len(piece)
            if size > _PART:
                break
        with bucket_errors(self.url):
            if size <= _PART:
                self._uploads.put(key, b"".join(first), use_multipart=False)
            else:
                # Not there before its last part is, whatever happens; what then is left of it only the bucket's own
                # rule for uploads that were cut off takes away.
                parts = itertools.chain(first, rest)
                self._uploads.put(key, parts, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE)
        return key

    def touch(self, key: str) -> bool:
        with bucket_errors(self.url):
            if self._head(_CONDEMNED + key) is not None:
                return False
            self._store.put(_TOUCHED + key, b"")
            # In this order: of one that is gone the condemnation may be, too.
            return self._head(_CONDEMNED + key) is None and self._head(key) is not None

    def remove(self, key: str, before: float) -> bool:
        with bucket_errors(self.url):
            found = self._head(key)
            if found is None:
                return True
            touched = self._head(_TOUCHED + key)
            if max(_time(meta) for meta in (found, touched) if meta is not None) >= before:
                return False
            condemned = self._head(_CONDEMNED + key)
            if condemned is None:
                self._store.put(_CONDEMNED + key, b"")
                return False
            if _time(condemned) >= before:
                return False
            for path in (key, _TOUCHED + key, _CONDEMNED + key):
                self._delete(path)
        return True

    def tidy(self, before: float) -> int:
        """Marks of objects that are gone. What uploads that were cut off have left is not seen from here. Raises
        Unavailable also where the clock of this machine is wrong, by which it is told what is old."""
        with bucket_errors(self.url):
            self._check_clock()
            marks = [
                meta["path"] for kind in (_TOUCHED, _CONDEMNED) for meta in self._list(kind) if _time(meta) < before
            ]
            # Listed after them: each was made when its object was there, and that never comes back.
            there = {meta["path"] for meta in self._list("") if _is_object(meta["path"])} if marks else set()
            for path in marks:
                if path.partition("/")[2] not in there:
                    self._delete(path)
        return 0

    def _check_clock(self) -> None:
        self._store.put(_CLOCK, b"")
        ahead = self._clock() - _time(self._store.head(_CLOCK))
        if abs(ahead) > _SKEW:
            raise Unavailable(
                f"The clock of this machine is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} that of "
                f"{self.url}, so it does not tell what is old enough to go: set it right."
            )

    def _delete(self, path: str) -> None:
        # Azure and Google say so of what is not there, S3 does not.
        with contextlib.suppress(FileNotFoundError):
            self._store.delete(path)

    def _head(self, path: str) -> ObjectMeta | None:
        try:
            return self._store.head(path)
        except FileNotFoundError:
            return None


def _apart() -> str:
    """16 hexadecimal digits that no other write of this name has. A bucket may tell times by the second only: of two
    writes in one second the later one sorts after the other."""
    return f"{time.time_ns() // 1000:013x}{secrets.randbelow(16**3):03x}"


def _time(meta: ObjectMeta) -> float:
    return meta["last_modified"].timestamp()


def _is_object(path: str) -> bool:
    """Not a mark, and nothing of the store's own."""
    return "/" in path and not path.startswith((_TOUCHED, _CONDEMNED))
