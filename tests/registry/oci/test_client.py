"""Reading from a real registry, with and without harm on the way."""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler

import pytest

from modelyard.domain.errors import InvalidRequest, NotFound, Unavailable
from modelyard.registry.content.manifest import Damaged, digest_of
from modelyard.registry.oci.client import MANIFEST, Client, Descriptor
from modelyard.registry.oci.references import parse
from modelyard.registry.oci.transport import Rejected, Transport
from modelyard.registry.oci.uploading import send
from tests.registry.oci.making import blob_of, client_of
from tests.registry.oci.servers import Between, Registry, serving

CONTENT = os.urandom(200_000)
CONFIG = b"{}"


def described(content: bytes, media_type: str = "application/octet-stream") -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(content), size=len(content))


def manifest(*annotations: str) -> bytes:
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(CONFIG), "size": len(CONFIG)}
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [],
         "annotations": dict.fromkeys(annotations, "")}
    ).encode()  # fmt: skip


def put(address: str, repository: str, *tags: str) -> None:
    with client_of(address, repository) as client:
        send(client, blob_of(CONTENT))
        send(client, blob_of(CONFIG))
    for tag in tags:
        with client_of(address, f"{repository}:{tag}") as client:
            assert client.put_manifest(manifest(tag)) == digest_of(manifest(tag))


def test_a_manifest_is_there_by_its_tag_and_its_digest(served: Registry) -> None:
    put(served.address, "client/manifests", "one")
    for target in ("one", digest_of(manifest("one"))):
        with client_of(served.address, "client/manifests") as client:
            assert client.digest(target) == digest_of(manifest("one"))
            found = client.manifest(target)
            assert (found.media_type, found.digest) == (MANIFEST, digest_of(manifest("one")))
            assert found.annotations == {"one": ""}


def test_what_is_not_there_is_said_to_be_missing(served: Registry) -> None:
    put(served.address, "client/missing", "one")
    with client_of(served.address, "client/missing") as client:
        assert client.digest("two") is None
        assert client.size(digest_of(b"none")) is None
        with pytest.raises(NotFound, match="client/missing:two"):
            client.manifest("two")
        with pytest.raises(NotFound, match="blob sha256:"):
            client.read(digest_of(b"none"), 0, 10)
    with client_of(served.address, "client/nothing") as client, pytest.raises(NotFound, match="client/nothing"):
        list(client.tags())


def test_tags_are_listed(served: Registry) -> None:
    put(served.address, "client/tags", "one", "two")
    with client_of(served.address, "client/tags") as client:
        assert sorted(client.tags()) == ["one", "two"]


def test_tags_that_come_in_pages_are_all_listed() -> None:
    class Pages(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            last = int((self.path.partition("last=v")[2]) or -1)
            body = json.dumps({"name": "a", "tags": [f"v{last + 1}", f"v{last + 2}"]}).encode()
            self.send_response(200)
            if last < 3:
                self.send_header("Link", f'</v2/a/tags/list?n=2&last=v{last + 2}>; rel="next"')
            self.end_headers()
            self.wfile.write(body)

    with serving(Pages) as address, client_of(address, "a") as client:
        assert list(client.tags()) == [f"v{number}" for number in range(6)]


def test_a_manifest_of_blobs_that_are_not_there_is_rejected(served: Registry) -> None:
    with client_of(served.address, "client/rejected:one") as client, pytest.raises(Rejected, match="MANIFEST_BLOB_UN"):
        client.put_manifest(manifest().replace(digest_of(CONFIG).encode(), digest_of(b"none").encode()))


def test_ranges_of_a_blob_are_read(served: Registry) -> None:
    put(served.address, "client/ranges")
    with client_of(served.address, "client/ranges") as client:
        for start, size in ((0, 1), (7, 100), (199_999, 1), (0, 200_000), (5, 0)):
            assert client.read(digest_of(CONTENT), start, size) == CONTENT[start : start + size]
        with pytest.raises(Damaged, match="shorter"):
            client.read(digest_of(CONTENT), 200_000, 1)


def test_a_registry_without_ranges_is_read_from(proxy: Between) -> None:
    put(proxy.address, "client/plain")
    proxy.without_ranges = True
    with client_of(proxy.address, "client/plain") as client:
        assert client.read(digest_of(CONTENT), 150_000, 1000) == CONTENT[150_000:151_000]


def test_a_blob_that_is_cut_off_again_and_again_is_read_on(proxy: Between) -> None:
    put(proxy.address, "client/cuts")
    proxy.cut_answers = ("/blobs/", 6, 30_000)
    with client_of(proxy.address, "client/cuts") as client:
        assert client.read(digest_of(CONTENT), 0, 200_000) == CONTENT
    assert proxy.cut_answers[1] == 0


def test_a_registry_that_fails_for_good_is_given_up_after_some_tries(proxy: Between) -> None:
    put(proxy.address, "client/down")
    waits: list[float] = []
    proxy.refuse, before = ("/blobs/", 1000, 503), len(proxy.seen)
    with Client(Transport(parse(f"oci://{proxy.address}/client/down"), sleep=waits.append)) as client:
        for ask in (lambda: client.size(digest_of(CONTENT)), lambda: client.read(digest_of(CONTENT), 0, 10)):
            with pytest.raises(Unavailable, match="503"):
                ask()
    assert len(proxy.seen) == before + 10
    assert len(waits) == 8
    assert waits[:4] != sorted(waits[:4], reverse=True)


def test_a_registry_that_is_not_there_is_unavailable() -> None:
    with client_of("127.0.0.1:1", "a") as client, pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        client.manifest()


@pytest.mark.parametrize("by", ["one", digest_of(manifest("one"))])
def test_a_manifest_with_one_bit_flipped_is_refused(proxy: Between, by: str) -> None:
    put(proxy.address, "client/flips", "one")
    proxy.flip = ("/manifests/", -30)
    with client_of(proxy.address, "client/flips") as client, pytest.raises(Damaged, match="another manifest"):
        client.manifest(by)


def test_a_small_blob_with_one_bit_flipped_is_refused(proxy: Between) -> None:
    put(proxy.address, "client/blobs")
    proxy.flip = ("/blobs/", 77)
    with client_of(proxy.address, "client/blobs") as client, pytest.raises(Damaged, match="other bytes"):
        client.blob(described(CONTENT))


def test_blobs_are_followed_to_where_they_are(proxy: Between, served: Registry) -> None:
    put(proxy.address, "client/redirects")
    proxy.redirect = ("/blobs/", f"http://{served.address}")
    with client_of(proxy.address, "client/redirects") as client:
        assert client.blob(described(CONTENT)) == CONTENT
        assert client.size(digest_of(CONTENT)) == len(CONTENT)
    proxy.redirect = ("/blobs/", f"http://{proxy.address}")
    with client_of(proxy.address, "client/redirects") as client, pytest.raises(Rejected, match="again and again"):
        client.size(digest_of(CONTENT))


@pytest.mark.parametrize(
    "place", ["http://registry.example.com/x", "http://169.254.169.254/x", "ftp://a/x", "http://[", "//a:b/"]
)
def test_nobody_is_led_out_of_tls(place: str) -> None:
    with Transport(parse("oci://other.example.com/a"), environ={}) as transport, pytest.raises(Rejected, match="leads"):
        transport._located("https://other.example.com/v2/", place)


def test_nobody_is_led_to_where_a_cloud_keeps_its_secrets() -> None:
    with (
        Transport(parse("oci://127.0.0.1:5000/a"), environ={}) as transport,
        pytest.raises(InvalidRequest, match="link"),
    ):
        transport._located("http://127.0.0.1:5000/v2/", "http://169.254.169.254/latest")


def test_an_upload_behind_a_proxy_that_ends_tls_stays_within_it() -> None:
    with Transport(parse("oci://other.example.com/a"), environ={}) as transport:
        found = transport._located("https://other.example.com/v2/", "http://other.example.com/v2/a/blobs/uploads/1?x=y")
        assert found == "https://other.example.com/v2/a/blobs/uploads/1?x=y"
