"""Blobs on their way to a real registry, whole and after cuts."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from modelyard.registry.content.chunks import Buffer
from modelyard.registry.content.manifest import Damaged, digest_of
from modelyard.registry.oci import uploading
from modelyard.registry.oci.uploading import Blob, Sent, send
from tests.registry.oci.making import blob_of, client_of
from tests.registry.oci.servers import Between, Registry, serving

LARGE = 3 * 2**20


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "_AT_ONCE", 2**16)
    monkeypatch.setattr(uploading, "_PIECE", 2**20)


@pytest.mark.parametrize("size", [0, 1, 2**16, 2**16 + 1, 2**20, LARGE + 7])
def test_a_blob_of_any_size_arrives(served: Registry, size: int) -> None:
    content, told = os.urandom(size), [0]
    with client_of(served.address, "uploads/sizes") as client:
        assert send(client, blob_of(content, told.append)) is Sent.SENT
        assert client.size(digest_of(content)) == size
        assert client.read(digest_of(content), 0, size) == content
    assert told == sorted(told)
    assert told[-1] == size


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_upload_goes_on_after_a_passing_fault(proxy: Between, method: str, status: int) -> None:
    content = os.urandom(LARGE)
    # The first of its kind: POST begins at the folder, PATCH and PUT have the upload's own address.
    path = {"POST": "uploads/$", "PATCH": "_state=[^&]*$", "PUT": "digest="}[method]
    proxy.refuse = (path, 1, status)
    with client_of(proxy.address, "uploads/faults") as client:
        assert send(client, blob_of(content)) is Sent.SENT
        assert client.read(digest_of(content), 0, LARGE) == content
    assert proxy.refuse[1] == 0


@pytest.mark.parametrize("after", [0, 1, 500_000])
def test_an_upload_that_is_cut_off_again_and_again_arrives(proxy: Between, after: int) -> None:
    content = os.urandom(LARGE)
    proxy.cut_requests = ("PATCH", 2, after)
    with client_of(proxy.address, "uploads/cuts") as client:
        assert send(client, blob_of(content)) is Sent.SENT
        assert client.read(digest_of(content), 0, LARGE) == content
    assert proxy.cut_requests[1] == 0


def test_what_a_registry_has_kept_of_a_cut_upload_is_not_sent_again() -> None:
    """docker-registry forgets an upload of which it has kept a part of a request; others go on, as the specification
    wants it."""
    content, kept, ranges = os.urandom(LARGE), bytearray(), []

    class Keeping(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, **headers: str) -> None:
            self.send_response_only(status)
            end = max(len(kept) - 1, 0)
            for name, value in ({"Location": "/v2/a/blobs/uploads/1", "Range": f"0-{end}"} | headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.answer(202)

        def do_GET(self) -> None:
            self.answer(204)

        def do_PATCH(self) -> None:
            ranges.append(self.headers["Content-Range"])
            length = int(self.headers["Content-Length"])
            cut = len(ranges) == 2
            kept.extend(self.rfile.read(length // 3 if cut else length))
            if cut:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            else:
                self.answer(202)

        def do_PUT(self) -> None:
            assert self.path.endswith(f"digest={digest_of(bytes(kept)).replace(':', '%3A')}")
            self.answer(201)

    with serving(Keeping) as address, client_of(address, "a") as client:
        assert send(client, blob_of(content)) is Sent.SENT
    third = 2**20 + 2**20 // 3
    assert kept == content
    assert ranges == [
        f"0-{2**20 - 1}", f"{2**20}-{2**21 - 1}", f"{third}-{third + 2**20 - 1}", f"{third + 2**20}-{LARGE - 1}"
    ]  # fmt: skip


def test_a_blob_of_another_repository_is_mounted_and_not_sent(served: Registry) -> None:
    content = os.urandom(LARGE)
    with client_of(served.address, "uploads/first") as client:
        send(client, blob_of(content))
    with client_of(served.address, "uploads/second") as client:
        assert send(client, blob_of(content), "uploads/first") is Sent.MOUNTED
        assert client.size(digest_of(content)) == LARGE


def test_a_blob_that_cannot_be_mounted_is_sent(served: Registry) -> None:
    content = os.urandom(LARGE)
    with client_of(served.address, "uploads/third") as client:
        assert send(client, blob_of(content), "uploads/nothing") is Sent.SENT
        assert client.size(digest_of(content)) == LARGE


def test_bytes_that_change_on_the_way_are_not_kept(served: Registry) -> None:
    content = os.urandom(LARGE)
    good = blob_of(content)

    def flipped(start: int, stop: int) -> Iterator[Buffer]:
        data = bytearray(content[start:stop])
        data[0] ^= 1
        yield bytes(data)

    with client_of(served.address, "uploads/flipped") as client:
        with pytest.raises(Damaged, match="DIGEST_INVALID"):
            send(client, Blob(digest=good.digest, size=good.size, read=flipped, tell=good.tell))
        assert client.size(good.digest) is None


def test_what_reading_raises_ends_the_upload(served: Registry) -> None:
    def broken(start: int, stop: int) -> Iterator[Buffer]:
        yield b"x"
        raise KeyboardInterrupt

    with client_of(served.address, "uploads/broken") as client, pytest.raises(KeyboardInterrupt):
        send(client, Blob(digest=digest_of(b""), size=LARGE, read=broken, tell=lambda there: None))
