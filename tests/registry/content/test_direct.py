"""Ranges of a bucket straight from its service: right where all goes well, and given up without a word where not, so
that the library goes on at that very byte. Nothing says a signed address."""

from __future__ import annotations

import logging
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from modelyard.domain.errors import Unavailable
from modelyard.registry.content import direct
from modelyard.registry.content.buckets import Bucket
from modelyard.registry.content.chunks import Buffer
from modelyard.registry.content.locations import store_at
from modelyard.registry.content.manifest import Damaged
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.storage import Folder, Missing
from tests.registry.content.bucketing import client, served_bucket
from tests.registry.content.making import checkpoint, contents, noise, on_disk, pushed
from tests.registry.sources.serving import Answer, Asked, Server, of, serve_bucket

MIB = 2**20
BODY = noise(1, 8 * MIB)
SIZES = [MIB, MIB // 2, MIB, 7]
SECRET = "not-in-any-message"
KEY, PATH = "objects/ab/abcd~1", "/models/some/objects/ab/abcd~1"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A service with one object."""
    with Server().running() as running:
        running.routes[PATH] = of(BODY)
        found(running, monkeypatch)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        yield running


def found(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a store of this service found."""
    environment = {
        "AWS_ENDPOINT_URL": server.url, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for one in (name, name.lower()):
            monkeypatch.delenv(one, raising=False)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def bucket(clock: Clock | None = None) -> Bucket:
    store = store_at("s3://models/some")
    assert isinstance(store, Bucket)
    assert store._direct is not None
    store._direct._clock = clock or Clock()
    return store


def read(store: Bucket, offset: int = 3, sizes: Sequence[int] = tuple(SIZES), key: str = KEY) -> bytes:
    """Each piece is copied before the next is asked for."""
    copies = list(map(bytes, store.pieces(key, offset, sizes)))
    assert [len(copy) for copy in copies] == list(sizes)
    return b"".join(copies)


def is_signed(asked: Asked) -> bool:
    return "X-Amz-Signature" in asked.query


def signed(server: Server) -> list[Asked]:
    return [asked for asked in server.log if is_signed(asked)]


EXPECTED = BODY[3 : 3 + sum(SIZES)]


# ------------------------------------------------------------------------------------------------ where all goes well


def test_pieces_come_with_one_request_over_a_connection_that_is_kept(server: Server) -> None:
    store = bucket()
    assert read(store) == EXPECTED
    line = store._direct._mine.line  # type: ignore[union-attr]
    assert read(store, 5 * MIB, [MIB, MIB]) == BODY[5 * MIB : 7 * MIB]
    assert store._direct._mine.line is line  # type: ignore[union-attr]
    assert [is_signed(asked) for asked in server.log] == [True, True]


def test_what_is_small_is_not_worth_a_connection(server: Server) -> None:
    assert read(bucket(), 0, [10, MIB - 11]) == BODY[: MIB - 1]
    assert signed(server) == []


def test_two_who_read_in_one_thread_do_not_spoil_each_others_pieces(server: Server) -> None:
    store = bucket()
    one, other = (store.pieces(KEY, offset, [MIB] * 3) for offset in (0, 4 * MIB))
    for number in range(3):
        for pieces, start in ((one, 0), (other, 4 * MIB)):
            assert bytes(next(pieces)) == BODY[start + number * MIB : start + (number + 1) * MIB]
    assert len(signed(server)) == len(server.log) == 2


def test_who_goes_away_in_the_middle_leaves_nothing_that_the_next_could_get(server: Server) -> None:
    store = bucket()
    pieces = store.pieces(KEY, 0, [MIB] * 4)
    next(pieces)
    del pieces
    assert read(store) == EXPECTED
    assert len(signed(server)) == 2


def test_a_connection_that_was_closed_while_it_rested_is_made_anew(server: Server) -> None:
    server._http.RequestHandlerClass.timeout = 0.05
    store = bucket()
    for _ in range(3):
        assert read(store) == EXPECTED
        rested = store._direct._mine.line.connection.sock  # type: ignore[union-attr]
        assert select.select([rested], [], [], 10)[0], "the service has ended it"
    assert len(signed(server)) == len(server.log) == 3


def test_a_version_on_s3_comes_directly_and_is_as_it_was_pushed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served_bucket() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        store = bucket()
        values = np.random.default_rng(1).standard_normal(3 * MIB).astype(np.float32)
        checkpoint(home / "v" / "model.safetensors", {"a": values, "b": values + 1})
        digest = pushed(home / "v", store).manifest
        read_otherwise = []
        original = Bucket.read

        def reading(self: Bucket, key: str, offset: int = 0, size: int | None = None) -> Buffer:
            read_otherwise.append((key, size))
            return original(self, key, offset, size)

        monkeypatch.setattr(Bucket, "read", reading)
        pulled = pull(store, digest, home / "out")
        assert contents(home / "out") == contents(home / "v")
        assert pulled.fetched == pulled.size > 20 * MIB
        assert sum(size or 0 for key, size in read_otherwise if key.startswith("objects/")) < MIB

        # And one byte that is another one there is refused.
        key = max(store.find("objects/"), key=lambda entry: entry.size).key
        content = bytearray(original(store, key))
        content[5 * MIB] ^= 1
        client(environment).put_object(Bucket="models", Key=f"some/{key}", Body=bytes(content))
        with pytest.raises(Damaged, match="is damaged"):
            pull(store, digest, home / "spoilt")
        assert not (home / "spoilt" / "model.safetensors").exists()


# ------------------------------------------------------------------------------------------------ where it does not


def part(body: bytes, told: str, **headers: str) -> Answer:
    return Answer(body, 206, {"Content-Range": told, **headers})


RANGE = f"bytes 3-{2 + len(EXPECTED)}/{len(BODY)}"
ODD = {
    "refused": Answer(b"<Code>SignatureDoesNotMatch</Code>", 403),
    "sent elsewhere": Answer(b"", 307, {"Location": "http://127.0.0.1:1/"}),
    "slowed down": Answer(b"<Code>SlowDown</Code>", 503),
    "all of it": Answer(BODY, has_ranges=False),
    "another range": part(BODY[: len(EXPECTED)], f"bytes 0-{len(EXPECTED) - 1}/{len(BODY)}"),
    "no range told": Answer(EXPECTED, 206),
    "nonsense told": part(EXPECTED, "bytes three to four"),
    "shorter than told": part(EXPECTED[:-1], RANGE),
    "without a length": Answer(EXPECTED, 206, {"Content-Range": RANGE}, length=False),
    "compressed": part(EXPECTED, RANGE, **{"Content-Encoding": "gzip"}),
    "no header": Answer(EXPECTED, 206, {"Content-Range": RANGE, "no": "header\r\n" * 200}),
}


@pytest.mark.parametrize("odd", list(ODD))
def test_an_odd_answer_is_left_to_the_library_and_then_it_does_all_for_a_minute(odd: str, server: Server) -> None:
    clock = Clock()
    store = bucket(clock)
    server.routes[PATH] = lambda asked: ODD[odd] if is_signed(asked) else of(BODY)
    assert read(store) == EXPECTED
    assert len(signed(server)) == 1
    server.routes[PATH] = of(BODY)
    clock.now += 59
    assert read(store) == EXPECTED
    assert len(signed(server)) == 1
    clock.now += 2
    assert read(store) == EXPECTED
    assert len(signed(server)) == 2


def test_an_object_that_is_not_there_says_nothing_of_others(server: Server) -> None:
    store = bucket()
    with pytest.raises(Missing):
        read(store, key="objects/ab/other")
    server.log.clear()
    assert read(store) == EXPECTED
    assert [is_signed(asked) for asked in server.log] == [True]


@pytest.mark.parametrize("after", [0, 1, MIB, 2 * MIB + 12345])
def test_a_connection_that_breaks_is_gone_on_with_at_the_piece_that_it_broke_in(after: int, server: Server) -> None:
    def breaking(sent: int) -> None:
        if sent >= after and len(server.log) == 1:
            raise ConnectionResetError

    server.sending, server.piece = breaking, 4096
    assert read(bucket()) == EXPECTED
    assert [is_signed(asked) for asked in server.log] == [True] + [False] * (len(server.log) - 1)
    whole = max(end for end in (0, MIB, MIB + MIB // 2, 2 * MIB + MIB // 2) if end <= after)
    assert server.log[1].headers["range"].startswith(f"bytes={3 + whole}-")


def test_a_service_that_falls_silent_is_not_waited_for_longer_than_the_time_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "_SILENCE", 0.1)
    silent = True

    def sending(sent: int) -> None:
        while silent and sent >= MIB and len(server.log) == 1:
            time.sleep(0.01)

    server.sending = sending
    assert read(bucket()) == EXPECTED
    silent = False
    assert [is_signed(asked) for asked in server.log][:2] == [True, False]


def test_a_service_that_trickles_is_not_waited_for_either(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_PIECE", 0.2)

    def sending(sent: int) -> None:
        if len(server.log) == 1:
            time.sleep(0.01)

    server.sending, server.piece = sending, 1000
    assert read(bucket()) == EXPECTED
    assert [is_signed(asked) for asked in server.log][:2] == [True, False]


def test_nobody_at_the_address_is_said_as_ever(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "sign", lambda *_: "http://127.0.0.1:1/models/x?X-Amz-Signature=sEcReT")
    assert read(bucket()) == EXPECTED


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "AWS_PROXY_URL", "AWS_SKIP_SIGNATURE"])
def test_what_goes_through_a_proxy_or_unsigned_is_the_librarys(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The store is there before: the library looks at this when it begins.
    store = bucket()
    monkeypatch.setenv(name, "true" if "SKIP" in name else "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert read(store) == EXPECTED
    assert signed(server) == []


def test_an_endpoint_without_tls_must_be_allowed_for_this_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    with pytest.raises(Unavailable, match="AWS_ALLOW_HTTP"):
        read(bucket())
    assert server.log == []


def test_only_s3_signs_without_asking_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    for url in ("gs://models/a", "az://models/a"):
        store = store_at(url)
        assert isinstance(store, Bucket)
        assert store._direct is None


def test_a_store_that_does_not_sign_is_read_by_the_library(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(*_: object) -> str:
        raise ValueError(f"no way to sign with {SECRET}")

    monkeypatch.setattr(direct, "sign", unable)
    assert read(bucket()) == EXPECTED
    assert signed(server) == []


# ------------------------------------------------------------------------------------------------ secrets and TLS


@pytest.mark.parametrize("status", [403, 404])
def test_no_error_and_no_log_has_a_signed_address(
    status: int, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.routes[PATH] = Answer(b"<Error><Code>Some</Code></Error>", status)
    with caplog.at_level(logging.DEBUG), pytest.raises((Missing, Unavailable)) as failed:
        read(bucket())
    error: BaseException | None = failed.value
    told = [caplog.text]
    while error is not None:
        told.append(f"{error!r} {error}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert len(signed(server)) == 1
    for word in ("X-Amz", SECRET, signed(server)[0].query[-64:]):
        assert word not in "".join(told)


def certificate(home: Path) -> Path:
    """Of 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = home / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *plain) + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_is_checked(trusted: bool, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    direct._trust.cache_clear()
    path = certificate(home)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    with Server(path).running() as server:
        found(server, monkeypatch)
        server.routes[PATH] = of(BODY)
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(path))
        store = bucket()
        assert store._direct is not None
        pieces = [bytes(piece) for piece in store._direct.pieces(KEY, 3, SIZES)]
        assert b"".join(pieces) == (EXPECTED if trusted else b"")
        assert len(server.log) == trusted
    direct._trust.cache_clear()


# ------------------------------------------------------------------------------------------------ cut off


PULL = """
import sys
from pathlib import Path
from modelyard.registry.content.locations import store_at
from modelyard.registry.content.pulling import pull
pull(store_at("s3://shelf/some"), sys.argv[1], Path(sys.argv[2]))
"""


@pytest.mark.parametrize("at", [MIB + 1, 13 * MIB, 30 * MIB])
def test_a_pull_that_was_killed_at_any_byte_is_gone_on_with(home: Path, server: Server, at: int) -> None:
    folder = Folder(home / "store")
    values = np.random.default_rng(1).standard_normal(5 * MIB).astype(np.float32)
    checkpoint(home / "v" / "model.safetensors", {"a": values, "b": values + 1})
    done = pushed(home / "v", folder)
    # Objects under the names that the index says; records are looked for.
    keys = {entry.key: bytes(folder.read(entry.key)) for entry in folder.find("")}
    serve_bucket(server, {f"some/{key}{again}": body for key, body in keys.items() for again in ("", "~1")})
    process = subprocess.Popen([sys.executable, "-c", PULL, done.manifest, str(home / "out")])

    def sending(sent: int) -> None:
        if sent >= at:
            process.send_signal(signal.SIGKILL)

    server.sending = sending
    assert process.wait(30) == -signal.SIGKILL
    server.sending = lambda sent: None
    there, before = on_disk(home / "out"), server.sent
    pull(store_at("s3://shelf/some"), done.manifest, home / "out")
    assert contents(home / "out") == contents(home / "v")
    assert [path.name for path in (home / "out").iterdir()] == ["model.safetensors"]
    assert there > 0
    # Each of the readers had a piece that was not whole, and what the system has taken in for it.
    assert server.sent - before <= done.size - at + 16 * 2 * MIB
    assert len(signed(server)) > 10
