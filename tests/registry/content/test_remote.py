"""A store through the API of another machine: everything that a store does, and only what a name proves is kept."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx2
import msgspec
import numpy as np
import pytest

from modelyard.domain.errors import InvalidRequest, NotFound, Unavailable
from modelyard.registry import objects
from modelyard.registry.content import receiving
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.chunks import CHUNK, Chunks
from modelyard.registry.content.garbage import collect
from modelyard.registry.content.manifest import Extent, Index, decode_index, digest_of, encode_index
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.receiving import PIECE, framed, receive, unframed
from modelyard.registry.content.remote import Remote
from modelyard.registry.content.shortcuts import (
    Shortcut,
    encode_shortcuts,
    read_shortcuts,
    shortcuts_name,
    write_shortcuts,
)
from modelyard.registry.content.storage import Folder, Missing
from modelyard.registry.content.stored import index_name, manifest_name, object_name, read_index, read_manifest
from modelyard.registry.content.verifying import verify_stored
from tests.registry.content.making import aged, checkpoint, contents, mixed, noise, pushed, tensors, unfinished
from tests.registry.served import TOKEN, bytes_of, served


@pytest.fixture
def remote(storage: Folder) -> Iterator[Remote]:
    with served(bytes_of(storage)) as there:
        made = Remote(there.url, TOKEN)
        yield made
        made.close()


def pack_of(data: bytes) -> str:
    name = hashlib.sha256(data).hexdigest()
    return f"packs/{name[:2]}/{name}"


def part_of(*pieces: bytes) -> str:
    digests = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    return Chunks(sum(map(len, pieces)), digests, tuple(map(len, pieces))).root


def test_a_version_is_pushed_and_pulled_through_the_api_as_into_a_folder(
    home: Path, storage: Folder, remote: Remote
) -> None:
    made = pushed(mixed(home / "v"), remote)
    assert verify_stored(storage, made.manifest) == () == verify_stored(remote, made.manifest)
    assert made.manifest == pushed(home / "v", Folder(home / "other")).manifest
    assert pushed(home / "v", remote).written == 0
    pull(remote, made.manifest, home / "out")
    assert contents(home / "out") == contents(home / "v")
    assert unfinished(storage.root) == []
    assert list(storage.find("waiting/")) == []
    checkpoint(home / "w" / "model.safetensors", tensors(seed=0) | {"more": np.arange(2**15, dtype=np.float32)})
    other = pushed(home / "w", remote, like=[made.manifest])
    assert other.written < 2 * 2**17 < other.size
    assert verify_stored(remote, other.manifest) == ()


def test_it_answers_as_the_store_itself_does(storage: Folder, remote: Remote) -> None:
    data = noise(1, 3 * CHUNK + 5)
    name = pack_of(data)
    assert (remote.latest(name), remote.size(name), remote.touch(name)) == (None, None, False)
    with pytest.raises(Missing):
        remote.read(name)
    key = remote.write(name, [data])
    assert (key, remote.latest(name), remote.size(key)) == (name, name, len(data))
    for offset, size in ((0, None), (0, 10), (CHUNK - 1, 2), (len(data) - 3, 10), (len(data), 5), (5, None), (0, 0)):
        assert remote.read(key, offset, size) == storage.read(key, offset, size)
    aged(storage.root)
    assert remote.touch(key)
    assert collect(storage, [], storage.path(key).stat().st_mtime + 1).young == 1
    others = [remote.write(pack_of(bytes([i])), [bytes([i])]) for i in range(20)]
    assert sorted(e.key for e in remote.find("packs/")) == sorted([key, *others])
    assert [e.key for e in remote.find(key[:12])] == [e.key for e in storage.find(key[:12])]
    for forbidden in (lambda: remote.remove(key, 1e12), lambda: remote.tidy(1e12)):
        with pytest.raises(Unavailable, match="modelyard gc"):
            forbidden()
    assert storage.size(key) == len(data)


@pytest.mark.parametrize(
    "name",
    [
        "packs/aa/../../x",
        "packs/ab/" + "a" * 64,
        "store.id",
        "notes/aa/" + "a" * 64,
        "packs/aa/" + "A" * 64,
        "packs/aa/a",
        "waiting/aa/" + "a" * 64,
    ],
)
def test_a_name_that_nothing_can_have_is_refused(storage: Folder, remote: Remote, name: str) -> None:
    with pytest.raises((InvalidRequest, NotFound)):
        remote.write(name, [b"x"])
    assert not [path for path in storage.root.rglob("*") if path.is_file()]


def test_a_wrong_token_gets_nothing(storage: Folder, remote: Remote) -> None:
    key = remote.write(pack_of(b"x"), [b"x"])
    stranger = Remote(remote.url, "another")
    for attempt in (lambda: stranger.read(key), lambda: stranger.write(key, [b"y"]), lambda: list(stranger.find(""))):
        with pytest.raises(Unavailable, match="token"):
            attempt()
    stranger.close()


# ------------------------------------------------------------------------------------------------ what is kept


@pytest.mark.parametrize("case", ["pack", "object", "header", "cut otherwise", "manifest", "index", "shortcuts"])
def test_what_is_not_what_its_name_says_replaces_nothing(
    home: Path, storage: Folder, remote: Remote, case: str
) -> None:
    made = pushed(mixed(home / "v"), storage)
    write_shortcuts(storage, made.manifest, {})
    own = next(e.key for e in storage.find("objects/") if "." in e.key)
    whole = next((e.key for e in storage.find("objects/") if "." not in e.key), own)
    data = bytes(storage.read(own))
    header = read_index(storage, made.manifest)
    offset = next(at.offset for extents in header.values() for at in extents if at.key == own)
    name, pieces = {
        "pack": (next(storage.find("packs/")).key, [b"something else"]),
        "object": (whole, [noise(9, 1000)]),
        "header": (own, [b"x" * offset, data[offset:]]),
        "cut otherwise": (own, [data[:offset], data[offset : offset + 100], data[offset + 100 :]]),
        "manifest": (manifest_name(made.manifest), [b"{}"]),
        "index": (index_name(made.manifest), [encode_index({})]),
        "shortcuts": (f"shortcuts/{made.manifest[7:9]}/{made.manifest[7:]}", [b"{}"]),
    }[case]
    before = {path: path.read_bytes() for path in storage.root.rglob("*") if path.is_file()}
    with pytest.raises(InvalidRequest):
        remote.write(name, pieces)
    assert {path: path.read_bytes() for path in storage.root.rglob("*") if path.is_file()} == before


def test_an_index_that_leads_elsewhere_never_becomes_a_versions(home: Path, storage: Folder, remote: Remote) -> None:
    made = pushed(mixed(home / "v"), storage)
    other = pushed(mixed(home / "w", seed=5), storage)
    good, theirs = read_index(storage, made.manifest), read_index(storage, other.manifest)
    small = next(root for root, at in good.items() if at[0].key.startswith("packs/"))
    large = next(root for root, at in good.items() if at[0].key.startswith("objects/"))
    foreign = next(at for at in theirs.values() if at[0].key.startswith("objects/"))
    at = good[small][0]
    for wrong in (
        {**good, small: (Extent(at.key, at.offset + 1, at.size),)},
        {**good, large: (Extent(foreign[0].key, 0, sum(e.size for e in good[large])),)},
        {**good, large: (Extent(f"packs/{'0' * 2}/{'0' * 64}", 0, sum(e.size for e in good[large])),)},
        {root: extents for root, extents in good.items() if root != small},
        {**good, part_of(b"not of it"): (at,)},
    ):
        with pytest.raises(InvalidRequest):
            remote.write(index_name(made.manifest), [encode_index(wrong)])
    assert read_index(storage, made.manifest) == good
    remote.write(index_name(made.manifest), [encode_index(good)])


def test_before_the_manifest_is_there_an_index_waits_and_is_none(home: Path, storage: Folder, remote: Remote) -> None:
    elsewhere = Folder(home / "elsewhere")
    made = pushed(mixed(home / "v"), elsewhere)
    record = bytes(elsewhere.read(manifest_name(made.manifest)))
    with pytest.raises(InvalidRequest, match="index before"):
        remote.write(manifest_name(made.manifest), [record])
    remote.write(index_name(made.manifest), [encode_index(read_index(elsewhere, made.manifest))])
    with pytest.raises(Missing):
        read_index(storage, made.manifest)
    with pytest.raises(InvalidRequest, match=r"has no (packs|objects)/"):
        remote.write(manifest_name(made.manifest), [record])
    for entry in [*elsewhere.find("packs/"), *elsewhere.find("objects/")]:
        storage.write(entry.key, [elsewhere.read(entry.key)])
    remote.write(manifest_name(made.manifest), [record])
    assert verify_stored(storage, made.manifest) == ()
    assert list(storage.find("waiting/")) == []


@pytest.mark.parametrize(
    "kinds", [("objects/", "packs/", "indexes/", "manifests/"), ("objects/", "packs/"), ("indexes/",), ("manifests/",)]
)
def test_a_push_through_the_api_mends_what_is_damaged(
    home: Path, storage: Folder, remote: Remote, kinds: tuple[str, ...]
) -> None:
    made = pushed(mixed(home / "v"), remote)
    for entry in [entry for kind in kinds for entry in storage.find(kind)]:
        path = storage.path(entry.key)
        path.chmod(0o644)
        path.write_bytes(b"?" + path.read_bytes()[1:])
    assert (pushed(home / "v", remote).written > 0) is ("packs/" in kinds)
    assert verify_stored(storage, made.manifest) == ()
    assert list(storage.find("waiting/")) == []


@pytest.mark.parametrize("waits", [False, True])
def test_what_an_index_names_is_young_before_it_counts(
    home: Path, storage: Folder, remote: Remote, waits: bool
) -> None:
    made = pushed(mixed(home / "v"), storage)
    good = read_index(storage, made.manifest)
    root, (at, *_) = next(item for item in good.items() if item[1][0].key.startswith("packs/"))
    data = bytes(storage.read(at.key, at.offset, at.size))
    another = storage.write(pack_of(data + b"and what no version has"), [data + b"and what no version has"])
    record = bytes(storage.read(manifest_name(made.manifest)))
    aged(storage.root)
    before = storage.path(another).stat().st_mtime + 1
    if waits:
        storage.remove(manifest_name(made.manifest), before)
    remote.write(index_name(made.manifest), [encode_index({**good, root: (Extent(another, 0, at.size),)})])
    if waits:
        remote.write(manifest_name(made.manifest), [record])
    assert read_index(storage, made.manifest)[root][0].key == another
    # As a collection does that has found it unreachable just before.
    for entry in [*storage.find("packs/"), *storage.find("objects/")]:
        if any(
            extent.key == entry.key for extents in read_index(storage, made.manifest).values() for extent in extents
        ):
            assert not storage.remove(entry.key, before)
    assert verify_stored(storage, made.manifest) == ()


class Condemning(Folder):
    """Has condemned some objects, which may be read until they go."""

    condemned: str = "none"

    def touch(self, key: str) -> bool:
        return key != self.condemned and super().touch(key)


def test_an_index_that_names_what_is_about_to_go_is_refused(home: Path) -> None:
    storage = Condemning(home / "condemning")
    made = pushed(mixed(home / "v"), storage)
    index = encode_index(read_index(storage, made.manifest))
    storage.condemned = next(storage.find("objects/")).key
    with pytest.raises(InvalidRequest, match=storage.condemned):
        receive(storage, index_name(made.manifest), framed([index]))


def test_of_indexes_that_wait_the_one_that_fits_is_taken(home: Path, storage: Folder, remote: Remote) -> None:
    made = pushed(mixed(home / "v"), storage)
    good, record = encode_index(read_index(storage, made.manifest)), bytes(storage.read(manifest_name(made.manifest)))
    for name in (index_name(made.manifest), manifest_name(made.manifest)):
        storage.remove(name, 1e12)
    for index in (encode_index({}), good, encode_index({part_of(b"x"): ()}), good):
        remote.write(index_name(made.manifest), [index])
    remote.write(index_name(made.manifest), [encode_index({})])
    remote.write(manifest_name(made.manifest), [record])
    assert verify_stored(storage, made.manifest) == ()
    assert list(storage.find("waiting/")) == []


def test_an_offset_that_no_object_can_have_is_refused(home: Path, storage: Folder, remote: Remote) -> None:
    made = pushed(mixed(home / "v"), storage)
    good = read_index(storage, made.manifest)
    root, (at, *_) = next(item for item in good.items() if item[1][0].key.startswith("packs/"))
    with pytest.raises(InvalidRequest):
        remote.write(index_name(made.manifest), [encode_index({**good, root: (Extent(at.key, 2**70, at.size),)})])


# ------------------------------------------------------------------------------------------------ shortcuts


@pytest.fixture
def shortened(home: Path, storage: Folder) -> tuple[str, str, Shortcut]:
    """A version, one of its parts, and a way that may lead to that."""
    made = pushed(mixed(home / "v"), storage)
    manifest = read_manifest(storage, made.manifest)
    root = next(part.root for part in manifest.parts() if part.size)
    key = next(storage.find("packs/")).key
    return made.manifest, root, Shortcut("", key, 0, (1,) * manifest.chunks[root].count)


def test_shortcuts_that_are_sent_are_added_to_those_that_lead_somewhere(
    storage: Folder, remote: Remote, shortened: tuple[str, str, Shortcut]
) -> None:
    digest, root, way = shortened
    manifest, other = read_manifest(storage, digest), replace(way, base="0" * 64, offset=1)
    write_shortcuts(storage, digest, {root: (way,)})
    write_shortcuts(remote, digest, {})
    assert read_shortcuts(storage, digest, manifest) == {root: (way,)}
    write_shortcuts(remote, digest, {root: (other,)})
    assert set(read_shortcuts(storage, digest, manifest)[root]) == {way, other}
    # What another push has stored at the same time under a key of its own is the same way.
    again = storage.write(f"{way.key}~{'a' * 16}", [storage.read(way.key)])
    write_shortcuts(remote, digest, {root: (replace(way, key=again),)})
    assert set(read_shortcuts(storage, digest, manifest)[root]) == {way, other}
    storage.write(way.key, [b"damaged"])
    write_shortcuts(remote, digest, {root: (replace(way, key=again),)})
    assert read_shortcuts(storage, digest, manifest) == {root: (replace(way, key=again),)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "/etc/shadow"}, {"key": "../../admin.token"}, {"offset": 2**70}, {"offset": -1}, {"lengths": (0,)},
        {"lengths": (2 * CHUNK + 1,)}, {"lengths": (10**15,)}, {"lengths": (1,) * 1000}, {"base": "../x"},
    ],
)  # fmt: skip
def test_shortcuts_that_lead_nowhere_are_refused(
    storage: Folder, remote: Remote, shortened: tuple[str, str, Shortcut], wrong: dict[str, object]
) -> None:
    digest, root, way = shortened
    record = encode_shortcuts({root: (replace(way, **wrong),)})  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest):
        remote.write(shortcuts_name(digest), [record])
    assert list(storage.find("shortcuts/")) == []
    # Should it have come there otherwise, it is as none.
    storage.write(shortcuts_name(digest), [record])
    assert read_shortcuts(storage, digest, read_manifest(storage, digest)) == {}


# ------------------------------------------------------------------------------------------------ many at once


def test_records_are_taken_one_at_a_time_and_keep_no_bytes_waiting(
    storage: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_in, go_on, second_sent, decoded = (threading.Event() for _ in range(4))

    def slowly(record: bytes, digest: str) -> Index:
        assert not decoded.is_set(), "another one is being decoded"
        decoded.set()
        first_in.set()
        assert go_on.wait(10)
        decoded.clear()
        return decode_index(record, digest)

    def second() -> Iterator[bytes]:
        yield from framed([encode_index({})])
        second_sent.set()

    monkeypatch.setattr(receiving, "decode_index", slowly)
    names = [index_name(f"sha256:{digit * 64}") for digit in "ab"]
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(receive, storage, names[0], framed([encode_index({})]))
        assert first_in.wait(10)
        other = pool.submit(receive, storage, names[1], second())
        assert second_sent.wait(10)
        assert receive(storage, pack_of(b"x"), framed([b"x"])) == pack_of(b"x")
        assert not other.done()
        go_on.set()
        assert {one.result(), other.result()} == {entry.key for entry in storage.find("waiting/")}


async def test_who_sends_hardly_anything_keeps_nobody_waiting(storage: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_PATIENCE", 0.1)
    store = objects.Objects(storage, Cache(storage.root, storage))

    async def body(*, whole: bool) -> AsyncIterator[bytes]:
        yield (sent := b"".join(framed([b"abc"])))[: len(sent) if whole else 5]
        if not whole:
            await asyncio.Event().wait()

    slow = [asyncio.create_task(store.write(pack_of(b"abc"), body(whole=False))) for _ in range(10)]
    assert await store.write(pack_of(b"abc"), body(whole=True)) == pack_of(b"abc")
    for sending in slow:
        with pytest.raises(objects.TooSlow):
            await sending
    assert unfinished(storage.root) == []


# ------------------------------------------------------------------------------------------------ how it is sent


@pytest.mark.parametrize("cut", [1, 3, 5, 1000])
def test_pieces_come_out_as_they_went_in_however_the_body_is_cut(cut: int) -> None:
    pieces = [b"a", b"bc" * 700, b"d" * 4097]
    body = b"".join(framed(pieces))
    assert list(unframed(body[i : i + cut] for i in range(0, len(body), cut))) == pieces
    long = noise(1, CHUNK + 10)
    assert [len(piece) for piece in unframed(framed([long]))] == [CHUNK, 10]


@pytest.mark.parametrize("body", [b"\0\0\0\0", PIECE.pack(CHUNK + 1) + b"x", PIECE.pack(5) + b"abc", b"\0\0"])
def test_a_body_that_is_not_made_of_pieces_is_refused(storage: Folder, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        receive(storage, pack_of(b"abc"), [body])
    assert list(storage.find("")) == []


# ------------------------------------------------------------------------------------------------ lines that break


def test_a_read_is_tried_again_when_the_connection_breaks(storage: Folder) -> None:
    data = noise(3, 2 * CHUNK)
    key = storage.write(pack_of(data), [data])
    with served(bytes_of(storage)) as there, breaking(there.url, after=700_000) as flaky:
        remote = Remote(flaky, TOKEN)
        assert remote.read(key, 0, len(data)) == data
        remote.close()


def test_what_is_sent_once_is_not_sent_again_and_leaves_nothing(storage: Folder) -> None:
    pieces = [noise(i, CHUNK) for i in range(4)]
    root = part_of(*pieces)
    with served(bytes_of(storage)) as there, breaking(there.url, sending=2 * CHUNK) as flaky:
        remote = Remote(flaky, TOKEN)
        with pytest.raises(Unavailable, match="broke"):
            remote.write(object_name(root, b""), iter(pieces))
        assert list(storage.find("")) == []
        assert remote.write(object_name(root, b""), iter(pieces)) == object_name(root, b"")
        remote.close()
    assert storage.read(object_name(root, b"")) == b"".join(pieces)


def test_nobody_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.registry.content.remote._FIRST_PAUSE", 0.001)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    remote = Remote(url)
    with pytest.raises(Unavailable, match=f"Nothing answers at {url}"):
        remote.size("packs/aa/" + "a" * 64)
    remote.close()


# ------------------------------------------------------------------------------------------------ hostile answers


def test_no_more_is_taken_of_an_answer_than_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    key = pack_of(b"x")
    monkeypatch.setattr("modelyard.registry.content.remote.MAX_RECORD", 2**20)
    for ask, most in (
        (lambda remote: remote.read(key, 0, 10), 10),
        (lambda remote: remote.read(key), 2**20),
        (lambda remote: remote.latest(key), 2**23),
        (lambda remote: list(remote.find("packs/")), 2**23),
    ):
        taken = 0

        class Counted(httpx2.BaseTransport):
            def handle_request(self, request: httpx2.Request) -> httpx2.Response:
                def pieces() -> Iterator[bytes]:
                    nonlocal taken
                    for _ in range(1024):
                        taken += 2**16
                        yield bytes(2**16)

                return httpx2.Response(200, stream=Streamed(pieces()))

        remote = Remote("http://hostile.test", transport=Counted())
        with pytest.raises(Unavailable, match="more"):
            ask(remote)
        assert taken <= most + 2**16
        remote.close()


class Streamed(httpx2.SyncByteStream):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


@pytest.mark.parametrize("status", [404, 418, 422, 500])
def test_what_is_said_of_an_error_is_shown_in_a_bounded_printable_form(status: int) -> None:
    errors = [{"path": "p" * 10_000, "code": "c" * 10_000, "message": "\x1b[2Jm" * 10_000}] * 2
    for body in (
        msgspec.json.encode({"detail": "\x1b]0;title\x07" * 1000, "code": "c" * 1000}),
        msgspec.json.encode({"detail": "d", "errors": errors}),
        b"x" * 2**25,
    ):
        transport = httpx2.MockTransport(
            lambda request, body=body: httpx2.Response(status, stream=Streamed(iter([body])))
        )
        remote = Remote("http://hostile.test", transport=transport)
        with pytest.raises((Unavailable, NotFound, InvalidRequest)) as raised:
            remote.latest(pack_of(b"x"))
        said = str(raised.value) + repr(getattr(raised.value, "problems", ""))
        assert len(said) < 5000
        assert said.isprintable()
        remote.close()


def test_a_size_that_is_none_is_no_answer() -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers={"content-length": "many"}))
    remote = Remote("http://hostile.test", transport=transport)
    with pytest.raises(Unavailable, match="none of Modelyard's"):
        remote.size(pack_of(b"x"))
    remote.close()


PUSH = """
import sys
from pathlib import Path
from modelyard.registry.content.remote import Remote
from tests.registry.content.making import pushed

print(pushed(Path(sys.argv[1]), Remote(sys.argv[2], sys.argv[3])).written)
"""


def test_a_killed_push_leaves_only_whole_objects_and_the_next_one_goes_on(home: Path, storage: Folder) -> None:
    checkpoint(home / "v" / "model.safetensors", tensors(count=12, size=2**19))
    with served(bytes_of(storage)) as there:
        command = [sys.executable, "-c", PUSH, str(home / "v"), there.url, TOKEN]
        first = subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.DEVNULL)
        while len(list(storage.find("objects/"))) < 4:
            assert first.poll() is None
        first.send_signal(signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
        whole = sum(entry.size for entry in storage.find("objects/"))
        done = subprocess.run(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, check=True, text=True)
        assert int(done.stdout) <= 12 * 2**21 + 2**20 - whole
    digest = digest_of(bytes(storage.read(next(storage.find("manifests/")).key)))
    assert verify_stored(storage, digest) == ()
    assert unfinished(storage.root) == []


class breaking:  # noqa: N801 - reads as a context
    """A way to a server that breaks once: ``after`` so many bytes of answers, or ``sending`` so many of requests."""

    def __init__(self, url: str, *, after: int = sys.maxsize, sending: int = sys.maxsize) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._to, self._left = (host, int(port)), {"down": after, "up": sending}
        self._listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> str:
        threading.Thread(target=self._accept, daemon=True).start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        with near, socket.create_connection(self._to) as far:
            back = threading.Thread(target=self._pass, args=(far, near, "down"), daemon=True)
            back.start()
            self._pass(near, far, "up")
            back.join()

    def _pass(self, one: socket.socket, other: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if (left := self._left[way]) <= len(data):
                    self._left[way] = sys.maxsize
                    other.sendall(data[:left])
                    break
                self._left[way] = left if left == sys.maxsize else left - len(data)
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
