"""A store in a bucket: versions pushed, laid out, collected and mended through S3's API, processes killed at any
request, and what is said of a bucket that cannot be used."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelyard.domain.errors import InvalidRequest, Unavailable
from modelyard.registry.content.buckets import Bucket
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.garbage import collect
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.locations import store_at
from modelyard.registry.content.manifest import encode_index
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.receiving import framed, receive
from modelyard.registry.content.storage import Folder, Store
from modelyard.registry.content.stored import index_name, manifest_name, read_index
from modelyard.registry.content.verifying import verify_stored
from tests.registry.content.bucketing import Watched, client, in_memory, served_bucket
from tests.registry.content.crashing import killing, together
from tests.registry.content.making import (
    accepted,
    aged,
    checkpoint,
    contents,
    mixed,
    noise,
    on_disk,
    pushed,
    tensors,
    unfinished,
    write,
)

GRACE = 5000.0


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, str]]:
    with served_bucket() as environment:
        yield environment


@pytest.fixture
def url(home: Path, served: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a store that nothing is in."""
    for name, value in served.items():
        monkeypatch.setenv(name, value)
    return f"s3://models/{home.name}"


@pytest.fixture
def store(url: str) -> Store:
    return store_at(url)


def keys(store: Store) -> set[str]:
    return {entry.key for entry in store.find("")}


def test_versions_in_a_bucket_are_laid_out_and_pulled_as_they_were_pushed(home: Path, store: Store) -> None:
    folder = mixed(home / "v")
    first = pushed(folder, store)
    assert verify_stored(store, first.manifest) == ()
    pull(store, first.manifest, home / "out")
    assert contents(home / "out") == contents(folder)
    cache = Cache(home / "cache", store)
    assert contents(cache.lay_out(first.manifest, Layout.EXACT).path).keys() == contents(folder).keys()
    assert cache.lay_out(first.manifest, Layout.TENSORS).fetched > 0
    write(folder / "config.json", b"{} ")
    again = pushed(folder, store, like=[first.manifest])
    assert again.manifest != first.manifest
    assert again.written < 2**16
    assert verify_stored(store, again.manifest) == ()
    assert pushed(folder, store, like=[again.manifest]).written == 0


def test_garbage_is_condemned_by_one_collection_and_goes_with_a_later_one(home: Path, store: Store) -> None:
    first = pushed(mixed(home / "1", 1), store).manifest
    alone = keys(store)
    second = pushed(mixed(home / "2", 2), store).manifest
    there, now = keys(store), time.time()
    young = collect(store, [first], now, grace=GRACE)
    assert (young.removed, young.condemned, young.goes_at) == (0, 0, None)
    assert young.young == len(there - alone)
    for dry_run in (True, False):
        found = collect(store, [first], now + 2 * GRACE, grace=GRACE, dry_run=dry_run)
        assert (found.removed, found.freed, found.young) == (0, 0, 0)
        assert found.condemned == len(there - alone)
        assert found.goes_at is not None
        assert found.goes_at > now + GRACE
    assert keys(store) == there
    assert verify_stored(store, second) == ()
    planned = collect(store, [first], now + 4 * GRACE, grace=GRACE, dry_run=True)
    done = collect(store, [first], now + 4 * GRACE, grace=GRACE)
    assert planned == done
    assert (done.removed, done.kept, done.condemned) == (len(there - alone), len(alone), 0)
    assert done.freed > 2**20
    assert keys(store) == alone
    assert verify_stored(store, first) == ()
    # No mark is left of what is gone.
    store.tidy(now + 4 * GRACE)
    assert isinstance(store, Bucket)
    assert [meta["path"] for page in store._store.list("condemned") for meta in page] == []


def test_what_is_condemned_is_written_anew_by_who_needs_it(home: Path, store: Store) -> None:
    folder = mixed(home / "v")
    first = pushed(folder, store)
    condemned = keys(store)
    collect(store, [], time.time() + 2 * GRACE, grace=GRACE)
    again = pushed(folder, store, like=[first.manifest])
    assert again.manifest == first.manifest
    assert again.written == first.written
    collect(store, [again.manifest], time.time() + 4 * GRACE, grace=GRACE)
    assert not keys(store) & condemned
    assert verify_stored(store, again.manifest) == ()


def test_what_is_damaged_in_a_bucket_is_mended_by_pushing_it_again(
    home: Path, store: Store, url: str, served: dict[str, str]
) -> None:
    folder = mixed(home / "v")
    digest = pushed(folder, store).manifest
    prefix = url.removeprefix("s3://models/")
    for key in sorted(keys(store)):
        content = bytes(store.read(key))
        spoiled = content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]
        client(served).put_object(Bucket="models", Key=f"{prefix}/{key}", Body=spoiled)
    while time.time() % 1 > 0.5:  # S3 tells what is newer by whole seconds
        time.sleep(0.05)
    time.sleep(1.001 - time.time() % 1)
    assert pushed(folder, store).manifest == digest
    assert verify_stored(store, digest) == ()
    pull(store, digest, home / "out")
    assert contents(home / "out") == contents(folder)


# ------------------------------------------------------------------------------------------------ many, and killed ones


class Through:
    """Passes requests on, and has each told of before and after, with the bytes that it has read."""

    def __init__(self, inner: Any, told: Callable[[int], object]) -> None:
        self._inner, self._told = inner, told

    def __getattr__(self, name: str) -> Any:
        request = getattr(self._inner, name)

        def asked(*arguments: Any, **options: Any) -> Any:
            self._told(0)
            answer = request(*arguments, **options)
            self._told(len(answer) if name == "get_range" else 0)
            return answer

        return asked


def through(url: str, told: Callable[[int], object]) -> Bucket:
    store = store_at(url)
    assert isinstance(store, Bucket)
    return Bucket(Through(store._store, told), url, uploads=Through(store._uploads, told))  # type: ignore[arg-type]


def mortal(number: int) -> Callable[[int], None]:
    """Kills the process when it is told for the ``number``-th time."""
    left = [number]
    lock = threading.Lock()

    def told(size: int) -> None:
        with lock:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return told


def push_it(folder: Path, url: str, environment: Mapping[str, str], number: int) -> None:
    os.environ.update(environment)
    pushed(folder, through(url, mortal(number)))


def lay_it_out(root: Path, url: str, environment: Mapping[str, str], digest: str, number: int) -> None:
    os.environ.update(environment)
    Cache(root, through(url, mortal(number))).lay_out(digest, Layout.EXACT)


def test_a_push_that_was_killed_at_any_request_goes_on(home: Path, url: str, served: dict[str, str]) -> None:
    folder = home / "v"
    checkpoint(folder / "model.safetensors", tensors(count=3))
    write(folder / "text.txt", b"a" * 1000)
    expected = pushed(folder, store_at(f"{url}/whole"))
    number = 1
    while killing(push_it, folder, f"{url}/{number}", served, number):
        store = store_at(f"{url}/{number}")
        there = sum(entry.size for prefix in ("objects/", "packs/") for entry in store.find(prefix))
        again = pushed(folder, store)
        assert again.manifest == expected.manifest
        assert again.written == expected.written - there, number
        assert verify_stored(store, again.manifest) == ()
        number += 9
    assert number > 30


def upload_it(url: str, environment: Mapping[str, str]) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield bytes(8 * 2**20)
        os.kill(os.getpid(), signal.SIGKILL)

    os.environ.update(environment)
    store_at(url).write("objects/ab/abcd", pieces())


def test_an_upload_that_was_killed_is_nowhere_but_in_the_buckets_list_of_these(
    url: str, store: Store, served: dict[str, str]
) -> None:
    assert killing(upload_it, url, served)
    assert keys(store) == set()
    uploads = client(served).list_multipart_uploads(Bucket="models")["Uploads"]
    assert [upload["Key"].split("~")[0] for upload in uploads] == [
        f"{url.removeprefix('s3://models/')}/objects/ab/abcd"
    ]


def test_laying_out_that_was_killed_at_any_request_goes_on(home: Path, url: str, served: dict[str, str]) -> None:
    folder = home / "v"
    checkpoint(folder / "model.safetensors", tensors(count=2, size=5 * 2**18))
    checkpoint(folder / "more.safetensors", tensors(count=2, size=2**15, seed=1))
    digest = pushed(folder, store_at(url)).manifest
    number = 6
    while killing(lay_it_out, home / "cache", url, served, digest, number):
        aged(home / "cache")
        left = on_disk(home / "cache") > 2**20
        counted: list[int] = []
        Cache(home / "cache", through(url, counted.append)).lay_out(digest, Layout.EXACT)
        assert contents(Cache(home / "cache", store_at(url)).folder(digest, Layout.EXACT)) == contents(folder)
        assert unfinished(home / "cache") == []
        assert left or sum(counted) >= on_disk(folder)
        shutil.rmtree(home / "cache")
        number += 5
    assert number > 10


def fetch_it(number: int, root: Path, url: str, environment: Mapping[str, str], digest: str) -> None:
    os.environ.update(environment)
    counted: list[int] = []
    Cache(root, through(url, counted.append)).lay_out(digest, Layout.TENSORS)
    (root.parent / f"read.{number}").write_text(str(sum(counted)))


def test_eight_processes_that_want_one_version_fetch_it_once(home: Path, url: str, served: dict[str, str]) -> None:
    folder = home / "v"
    checkpoint(folder / "model.safetensors", tensors(count=4, size=2**19))
    digest = pushed(folder, store_at(url)).manifest
    together(8, fetch_it, home / "cache", url, served, digest)
    read = sum(int(path.read_text()) for path in home.glob("read.*"))
    assert on_disk(folder) * 0.99 <= read <= on_disk(folder) * 1.01


# ------------------------------------------------------------------------------------------------ requests


def test_a_part_that_is_pushed_takes_few_requests(home: Path) -> None:
    folder = home / "v"
    checkpoint(folder / "model.safetensors", tensors(count=20, size=2**15))
    asked: list[str] = []
    pushed(folder, in_memory(watch=lambda what, path: asked.append(f"{what} {path.split('/')[0]}")))
    # Each is looked for and written; to be touched it is looked at before and after, and marked.
    assert len([one for one in asked if one.endswith("objects")]) <= 20 * 3
    assert len(asked) <= 20 * 6 + 30


def test_a_wrong_clock_is_said_and_nothing_goes(home: Path) -> None:
    for off in (100.0, -3600.0):
        store = Bucket(Watched(), "s3://models", clock=lambda off=off: time.time() + off)  # type: ignore[arg-type,misc]
        pushed(mixed(home / "v"), store)
        there = keys(store)
        with pytest.raises(Unavailable, match=r"clock of this machine is \d+ s (ahead of|behind) that of s3://models"):
            collect(store, [], time.time() + 2 * GRACE, grace=GRACE)
        assert keys(store) == there


# ------------------------------------------------------------------------------------------------ places and errors


def test_a_url_says_which_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    folder = store_at((home / "a b").as_uri())
    assert isinstance(folder, Folder)
    assert folder.root == home / "a b"
    for url in ("s3://models", "s3://models/", "gs://models/a", "az://models/a/b-c/1.0"):
        store = store_at(url)
        assert isinstance(store, Bucket)
        assert store.url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "", "models", "file:relative", "file://other/machine", "http://models/a", "s3://", "s3:///a", "s3://a/../b",
        "s3://key:secret@models", "s3://models?x=1", "s3://models/a#b", "s3://models/a//b", "s3://models/a b", "s3://m*",
    ],
)  # fmt: skip
def test_what_is_no_store_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(InvalidRequest, match="A store is at file:///path, s3://bucket/prefix") as refused:
        store_at(url)
    assert "secret" not in str(refused.value)


SECRET = "SECRET0123"
ANSWERS = [
    (404, "NoSuchBucket", "there is no such bucket: make it"),
    (403, "InvalidAccessKeyId", "the credentials are not accepted: correct AWS_ACCESS_KEY_ID"),
    (403, "SignatureDoesNotMatch", "the credentials are not accepted"),
    (403, "AccessDenied", "permission is denied: allow these credentials"),
    (403, "RequestTimeTooSkewed", "the clock of this machine is wrong"),
    (400, "ExpiredToken", "the credentials have expired"),
    (301, "PermanentRedirect", "the bucket is in another region: set AWS_REGION"),
    (400, "AuthorizationHeaderMalformed", "the bucket is in another region"),
    (400, "SomethingElse", "it answers SomethingElse"),
    (418, "", "it answers 418"),
]


@pytest.mark.parametrize(("status", "code", "said"), ANSWERS)
def test_a_bucket_that_cannot_be_used_is_said_with_what_to_do_and_without_secrets(
    status: int, code: str, said: str, monkeypatch: pytest.MonkeyPatch, served: dict[str, str]
) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            text = f"<Code>{code}</Code>" if code else ""
            body = f"<Error>{text}<AWSAccessKeyId>{SECRET}</AWSAccessKeyId></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        for name, value in served.items():
            monkeypatch.setenv(name, SECRET if "KEY" in name else value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        store = store_at("s3://models/some")
        for call in (
            lambda: store.has_identity("x"),
            lambda: store.read("objects/a"),
            lambda: list(store.find("objects/")),
            lambda: store.write("objects/a", [b"a"]),
        ):
            with pytest.raises(Unavailable) as failed:
                call()
            assert f"The store in s3://models/some cannot be used: {said}" in failed.value.message
            assert SECRET not in failed.value.message
            assert failed.value.__suppress_context__, "the library's own text has them"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_endpoint_without_tls_must_be_allowed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(Unavailable, match="its endpoint is not https: set AWS_ALLOW_HTTP=true"):
        store_at(url).identity()


def test_a_damaged_identity_is_nobodys(store: Store, url: str, served: dict[str, str]) -> None:
    key = f"{url.removeprefix('s3://models/')}/store.id"
    client(served).put_object(Bucket="models", Key=key, Body=b"A" * 32)
    with pytest.raises(Unavailable, match=r"store\.id is damaged: remove it"):
        store.identity()


def test_who_has_a_folder_does_without_the_library() -> None:
    program = (
        "import sys, modelyard.app.plane, modelyard.cli.contents\n"
        "from modelyard.registry.content.locations import store_at\n"
        "store_at('file:///tmp')\n"
        "sys.exit('obstore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_many_pushes_into_a_bucket_at_once_each_have_all(home: Path, store: Store) -> None:
    def push_one(number: int) -> None:
        folder = home / f"v{number}"
        checkpoint(folder / "model.safetensors", tensors(count=3, seed=number % 2))
        write(folder / "noise.txt", noise(number, 300).hex().encode())
        digests.append(pushed(folder, store).manifest)

    digests: list[str] = []
    threads = [threading.Thread(target=push_one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(digests)) == 4
    assert all(verify_stored(store, digest) == () for digest in digests)
    assert accepted(home / "v0")


def test_an_error_ends_the_fetching_of_all_files(home: Path) -> None:
    folder = home / "v"
    for number in range(4):
        checkpoint(folder / f"{number}.safetensors", tensors(count=1, size=2**23, seed=number))
    store = in_memory()
    digest = pushed(folder, store).manifest
    read: list[str] = []

    def fails(what: str, path: str) -> None:
        if what == "get" and path.startswith("objects/"):
            read.append(path)
            if len(read) == 3:
                raise Unavailable("The third read fails.")

    store._store.watch = fails  # type: ignore[union-attr]
    with pytest.raises(Unavailable, match="third read"):
        pull(store, digest, home / "out")
    # Those that were under way by then, of 16.
    assert len(read) <= 3 + 8
    store._store.watch = lambda what, path: None  # type: ignore[union-attr]
    aged(home / "out")  # so that what is left is gone on with
    pull(store, digest, home / "out")
    assert contents(home / "out") == contents(folder)


def test_what_is_received_a_second_time_is_where_its_own_index_says(home: Path) -> None:
    """The first one's index has waited for its manifest, and a bucket does not remove it at once."""
    store, elsewhere = in_memory(), Folder(home / "elsewhere")
    folder = mixed(home / "v")
    digest = pushed(folder, elsewhere).manifest
    for number in range(2):
        for prefix in ("objects/", "packs/"):
            for entry in elsewhere.find(prefix):
                store.write(entry.key, [elsewhere.read(entry.key)])
        index = {
            root: tuple(replace(at, key=store.latest(at.key) or "") for at in extents)
            for root, extents in read_index(elsewhere, digest).items()
        }
        receive(store, index_name(digest), framed([encode_index(index)]))
        receive(store, manifest_name(digest), framed([bytes(elsewhere.read(manifest_name(digest)))]))
        assert read_index(store, digest) == index, number
        assert verify_stored(store, digest) == ()
