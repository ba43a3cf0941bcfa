"""Objects of S3 (moto's server), and of Google Cloud Storage and Azure (what their clients ask for, served)."""

from __future__ import annotations

import hashlib
import logging
import random
import re
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import boto3
import httpx2
import pytest
from moto.server import ThreadedMotoServer

from modelyard.domain.errors import InvalidRequest, NotFound, Unavailable
from modelyard.registry.content.bucket_errors import is_lasting
from modelyard.registry.sources.fetching import fetch
from modelyard.registry.sources.files import Damaged
from modelyard.registry.sources.picking import Picking
from tests.registry.sources.cutting_off import journaled, killed
from tests.registry.sources.serving import Answer, Asked, Server, of, serve_bucket

LARGE = random.Random(8).randbytes(18 * 2**20)
FILES = {"model.onnx": LARGE, "sub/vocab.txt": b"a\nb\n", "empty.txt": b""}


def bare(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ------------------------------------------------------------------------------------------- S3


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {
        "AWS_ENDPOINT_URL": moto, "AWS_ACCESS_KEY_ID": "key", "AWS_REGION": "us-east-1",
        "AWS_SECRET_ACCESS_KEY": "sEcReT", "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    httpx2.post(f"{moto}/moto-api/reset")
    client.create_bucket(Bucket="shelf")
    return client


def put(s3: Any, files: dict[str, bytes], **more: Any) -> None:
    for key, body in files.items():
        s3.put_object(Bucket="shelf", Key=key, Body=body, **more)


def test_all_below_a_prefix_or_one_object_or_the_whole_bucket(s3: Any, to: Path) -> None:
    put(s3, {f"m/pat/{path}": body for path, body in FILES.items()} | {"m/patent.txt": b"another"})
    put(s3, {"m/pat/sub/": b"", "m/pat/": b""})
    told: list[tuple[int, int]] = []
    for source in ("s3://shelf/m/pat", "s3://shelf/m/pat/"):
        assert fetch(source, to, progress=lambda there, total: told.append((there, total))) == source
        assert contents(to) == FILES
    assert told[-1] == (len(LARGE) + 4, len(LARGE) + 4)
    said = fetch("s3://shelf/m/pat/sub/vocab.txt", to)
    assert contents(to) == {"vocab.txt": b"a\nb\n"}
    assert said == f"s3://shelf/m/pat/sub/vocab.txt#etag={bare(FILES['sub/vocab.txt'])}"
    fetch("s3://shelf", to, Picking(exclude=("m/pat/*",)))
    assert contents(to) == {"m/patent.txt": b"another"}


def test_a_version_of_an_object_is_put_down(s3: Any, to: Path) -> None:
    s3.put_bucket_versioning(Bucket="shelf", VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket="shelf", Key="a.txt", Body=b"one")["VersionId"]
    assert fetch("s3://shelf/a.txt", to) == f"s3://shelf/a.txt#version={version}"


def test_what_is_not_there_is_said(s3: Any, to: Path) -> None:
    for source in ("s3://shelf/nothing", "s3://shelf/", "s3://nowhere/at-all"):
        with pytest.raises((NotFound, Unavailable), match=source.rstrip("/")):
            fetch(source, to)


def test_only_what_changed_is_fetched_again(s3: Any, to: Path) -> None:
    put(s3, FILES)
    fetch("s3://shelf", to)
    before = (to / "model.onnx").stat()
    written = before.st_ino, before.st_mtime_ns
    put(s3, {"sub/vocab.txt": b"another"})
    s3.delete_object(Bucket="shelf", Key="empty.txt")
    fetch("s3://shelf", to)
    assert contents(to) == {"model.onnx": LARGE, "sub/vocab.txt": b"another"}
    after = (to / "model.onnx").stat()
    assert (after.st_ino, after.st_mtime_ns) == written


@pytest.mark.parametrize("key", ["a\\b.txt", "A.txt", "NUL", "a:b", "sub", "tab\t.txt"])
def test_keys_that_may_not_be_files_of_a_version_are_refused(s3: Any, to: Path, key: str) -> None:
    put(s3, {"m/a.txt": b"", "m/sub/b.txt": b"b", f"m/{key}": b"x"})
    with pytest.raises(InvalidRequest):
        fetch("s3://shelf/m", to)
    assert not to.exists()


@pytest.mark.parametrize("key", ["../up.txt", "m/../../up.txt", "m//a.txt", "m/./a.txt"])
def test_keys_that_lead_elsewhere_are_refused(s3: Any, to: Path, home: Path, key: str) -> None:
    put(s3, {"m/b.txt": b"", key: b"x"})
    with pytest.raises((InvalidRequest, Unavailable)):
        fetch("s3://shelf", to)
    assert not list(home.rglob("*.txt"))


def flipping(server: Server, bucket: dict[str, bytes], flipped: str, **headers: str) -> None:
    """S3, as far as one object's reading goes, with a byte that is not what the ETag says."""
    for key, body in bucket.items():
        spoilt = bytes([body[0] ^ 1]) + body[1:] if key == flipped else body
        etag, date = of(body).etag, formatdate(usegmt=True)
        server.routes[f"/shelf/{key}"] = Answer(spoilt, etag=etag, headers={"Last-Modified": date, **headers})


def test_a_byte_flipped_by_the_server_is_refused(
    s3: Any, server: Server, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    flipping(server, {"a.txt": b"abc"}, "a.txt")
    with pytest.raises(Damaged, match=r"a\.txt arrived damaged"):
        fetch("s3://shelf/a.txt", to)
    assert not list(to.glob("*"))
    flipping(server, {"a.txt": b"abc"}, "")
    fetch("s3://shelf/a.txt", to)
    assert contents(to) == {"a.txt": b"abc"}
    # The ETag of what is encrypted with a key of its own is no digest.
    flipping(server, {"a.txt": b"abd"}, "a.txt", **{"x-amz-server-side-encryption": "aws:kms"})
    fetch("s3://shelf/a.txt", to)
    assert contents(to) == {"a.txt": b"`bd"}


@pytest.mark.parametrize("after", [2**19, 8 * 2**20, 16 * 2**20])
def test_a_killed_fetch_goes_on_and_what_was_there_is_not_sent_again(
    s3: Any, server: Server, to: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    flipping(server, {"a.bin": LARGE}, "")
    assert killed(server, "s3://shelf/a.bin", to, after)
    there, before = journaled(to), server.sent
    assert there >= after - 12 * 2**20, "the rest was still on its way"
    fetch("s3://shelf/a.bin", to)
    assert contents(to) == {"a.bin": LARGE}
    assert server.sent - before == len(LARGE) - there
    flipping(server, {"a.bin": LARGE[::-1]}, "")
    fetch("s3://shelf/a.bin", to)
    assert contents(to) == {"a.bin": LARGE[::-1]}, "another ETag: another file"


def test_an_object_that_changes_while_it_is_fetched_is_fetched_anew(
    s3: Any, server: Server, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    now = LARGE

    def answer(asked: Asked) -> Answer:
        nonlocal now
        if len(server.log) == 2:
            now = LARGE[::-1]
        return Answer(now, etag=of(now).etag, headers={"Last-Modified": formatdate(usegmt=True)})

    server.routes["/shelf/a.bin"] = answer
    fetch("s3://shelf/a.bin", to)
    assert contents(to) == {"a.bin": LARGE[::-1]}


def test_what_cannot_be_read_is_said_without_secrets(
    s3: Any, server: Server, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    server.routes["/shelf/a.txt"] = Answer(b"<Error><Code>AccessDenied</Code></Error>", 403)
    with pytest.raises(Unavailable, match="may not list and read there") as caught:
        fetch("s3://shelf/a.txt", to)
    assert "sEcReT" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "lasts"),
    [
        ("Error performing PUT http://169.254.169.254/latest/api/token in 3 s, after 3 retries", True),
        ("Error performing GET https://x, kind: Connect: dns error: Name or service not known", True),
        ("Error performing GET https://x, kind: Connect: dns error: Temporary failure in name resolution", False),
        ("Error performing GET https://x, kind: Connect: Connection refused", False),
    ],
)
def test_what_does_not_pass_by_itself_is_told_apart(said: str, lasts: bool) -> None:
    assert is_lasting(Exception(said)) is lasts


# ------------------------------------------------------------------------------------------- Google, Azure


def serve_azure(server: Server, bucket: dict[str, bytes]) -> None:
    def listed(asked: Asked) -> Answer:
        prefix = parse_qs(asked.query).get("prefix", [""])[0]
        rows = "".join(
            f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>{formatdate(usegmt=True)}</Last-Modified>"
            f"<Etag>{bare(body)}</Etag><Content-Length>{len(body)}</Content-Length>"
            "<Content-Type>application/octet-stream</Content-Type><BlobType>BlockBlob</BlobType></Properties></Blob>"
            for key, body in sorted(bucket.items())
            if key.startswith(prefix)
        )
        return Answer(f"<EnumerationResults><Blobs>{rows}</Blobs><NextMarker/></EnumerationResults>".encode())

    server.routes["/account/shelf"] = listed
    for key, body in bucket.items():
        server.routes[f"/account/shelf/{key}"] = of(body, headers={"Last-Modified": formatdate(usegmt=True)})


@pytest.fixture(params=["gs", "az"])
def other(request: pytest.FixtureRequest, server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A scheme, whose client asks our server."""
    if request.param == "gs":
        settings = {"GOOGLE_BASE_URL": server.url, "GOOGLE_SKIP_SIGNATURE": "true"}
        serve_bucket(server, {f"m/pat/{path}": body for path, body in FILES.items()} | {"m/patent.txt": b"x"})
    else:
        settings = {
            "AZURE_STORAGE_ENDPOINT": f"{server.url}/account", "AZURE_STORAGE_ACCOUNT_NAME": "account",
            "AZURE_STORAGE_ACCOUNT_KEY": "c0VjUmVU",
        }  # fmt: skip
        serve_azure(server, {f"m/pat/{path}": body for path, body in FILES.items()} | {"m/patent.txt": b"x"})
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return str(request.param)


def test_the_other_clouds_buckets_are_read_too(other: str, server: Server, to: Path) -> None:
    assert fetch(f"{other}://shelf/m/pat", to) == f"{other}://shelf/m/pat"
    assert contents(to) == FILES
    sent = server.sent
    fetch(f"{other}://shelf/m/pat", to)
    assert server.sent - sent < 2**16, "all of it is there: it was only listed"
    said = fetch(f"{other}://shelf/m/patent.txt", to)
    assert contents(to) == {"patent.txt": b"x"}
    assert re.fullmatch(rf"{other}://shelf/m/patent\.txt#etag=[0-9a-f]{{32}}", said)


def test_what_is_not_in_the_other_clouds_is_said(other: str, server: Server, to: Path) -> None:
    with pytest.raises(NotFound, match=f"There is nothing at {other}://shelf/nothing"):
        fetch(f"{other}://shelf/nothing", to)
