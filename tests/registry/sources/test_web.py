"""One file from a web server: whole, by ranges, gone on with, checked, and never from where it should not be."""

from __future__ import annotations

import gzip
import hashlib
import random
import socket
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from modelyard.domain.errors import InvalidRequest, NotFound, Unavailable
from modelyard.registry import room
from modelyard.registry.admitting import Hosts
from modelyard.registry.sources import files, patience
from modelyard.registry.sources.fetching import fetch
from modelyard.registry.sources.files import Damaged
from tests.registry.sources.cutting_off import journaled, killed
from tests.registry.sources.serving import Answer, Asked, Server, of

LARGE = random.Random(7).randbytes(20 * 2**20)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE", 0.02)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_file_is_named_by_its_address_or_by_the_server(server: Server, to: Path) -> None:
    server.routes["/m/my model.onnx"] = of(b"abc")
    said = fetch(f"{server.url}/m/my%20model.onnx?token=secret", to)
    assert contents(to) == {"my model.onnx": b"abc"}
    assert said == f"{server.url}/m/my%20model.onnx#etag={hashlib.md5(b'abc').hexdigest()}"
    server.routes["/get"] = of(b"def", headers={"Content-Disposition": "attachment; filename*=UTF-8''gr%C3%BCn.onnx"})
    fetch(f"{server.url}/get", to)
    assert contents(to) == {"grün.onnx": b"def"}, "what is no longer there at the source is not here either"


@pytest.mark.parametrize(
    "name", ["../../up.onnx", "/etc/passwd", "a/b.onnx", "..", "a\\b.onnx", "C:x.onnx", "NUL", "a\tb"]
)
def test_a_name_that_leads_elsewhere_is_refused(server: Server, to: Path, name: str) -> None:
    disposition = "attachment; filename*=UTF-8''" + "".join(f"%{byte:02x}" for byte in name.encode())
    server.routes["/get"] = of(b"x", headers={"Content-Disposition": disposition})
    with pytest.raises(InvalidRequest):
        fetch(f"{server.url}/get", to)
    assert not to.exists()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"etag": None, "headers": {"Last-Modified": "Sat, 21 Nov 2026 20:00:00 GMT"}},
        {"etag": None},
        {"etag": 'W/"weak"'},
        {"has_ranges": False},
        {"length": False, "has_ranges": False},
    ],
)
@pytest.mark.parametrize("size", [0, 1, 2**20, len(LARGE)])
def test_what_arrives_is_what_the_server_has_whatever_it_can_do(
    server: Server, to: Path, more: dict[str, object], size: int
) -> None:
    server.routes["/a.bin"] = of(LARGE[:size], **more)
    told: list[tuple[int, int]] = []
    fetch(f"{server.url}/a.bin", to, progress=lambda there, total: told.append((there, total)))
    assert contents(to) == {"a.bin": LARGE[:size]}
    assert told[-1] == (size, size)
    # Once to see what it is, then by ranges of 16 MiB where it says whether it is still the same.
    has_ranges = not more or "headers" in more
    assert len(server.log) == 1 + (
        -(-size // files.RANGE) if has_ranges else int(size > 0 or not more.get("length", 1))
    )


def test_what_a_server_compresses_unasked_is_the_file_again(server: Server, to: Path) -> None:
    text = b"a line\n" * 100_000
    server.routes["/a.txt"] = of(gzip.compress(text), headers={"Content-Encoding": "gzip"})
    fetch(f"{server.url}/a.txt#sha256={hashlib.sha256(text).hexdigest()}", to)
    assert contents(to) == {"a.txt": text}


@pytest.mark.parametrize("after", [2**19, 9 * 2**20, 18 * 2**20])
def test_a_killed_fetch_goes_on_and_what_was_there_is_not_sent_again(server: Server, to: Path, after: int) -> None:
    server.routes["/a.bin"] = of(LARGE)
    assert killed(server, f"{server.url}/a.bin", to, after)
    there, before = journaled(to), server.sent
    assert not list(to.glob("*"))
    assert there >= after - 12 * 2**20, "the rest was still on its way"
    fetch(f"{server.url}/a.bin", to)
    assert contents(to) == {"a.bin": LARGE}
    assert server.sent - before == len(LARGE) - there + 1, "one byte is asked for to see what it is"
    before = server.sent
    fetch(f"{server.url}/a.bin", to)
    assert server.sent - before == 1, "all of it is there"


def test_a_file_that_has_changed_meanwhile_is_fetched_anew(server: Server, to: Path) -> None:
    server.routes["/a.bin"] = of(LARGE)
    assert killed(server, f"{server.url}/a.bin", to, 12 * 2**20)
    other = LARGE[::-1]
    server.routes["/a.bin"] = of(other)
    fetch(f"{server.url}/a.bin", to)
    assert contents(to) == {"a.bin": other}


def test_a_file_that_changes_while_it_is_fetched_is_fetched_anew(server: Server, to: Path) -> None:
    other = LARGE[::-1]
    server.routes["/a.bin"] = lambda asked: of(LARGE if len(server.log) < 3 else other)
    fetch(f"{server.url}/a.bin", to)
    assert contents(to) == {"a.bin": other}


def test_what_is_spoilt_on_the_disk_between_two_tries_is_fetched_again(server: Server, to: Path) -> None:
    server.routes["/a.bin"] = of(LARGE)
    assert killed(server, f"{server.url}/a.bin", to, 15 * 2**20)
    for path in to.with_name("files.parts").rglob("data"):
        data = bytearray(path.read_bytes())
        for at in range(0, len(data), 3 * 2**20):
            data[at] ^= 1
        path.write_bytes(data)
    fetch(f"{server.url}/a.bin", to)
    assert contents(to) == {"a.bin": LARGE}


def test_a_broken_connection_is_gone_on_with(server: Server, to: Path) -> None:
    server.routes["/a.bin"] = of(LARGE)
    limits = [2 * 2**20, 5 * 2**20, 11 * 2**20]

    def sending(sent: int) -> None:
        if limits and sent > limits[0]:
            limits.pop(0)
            raise ConnectionError

    server.sending = sending
    fetch(f"{server.url}/a.bin", to)
    assert contents(to) == {"a.bin": LARGE}
    assert limits == []
    assert server.sent < len(LARGE) + 3 * 2**20


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_has_no_time_is_asked_again(server: Server, to: Path, status: int) -> None:
    busy = [Answer(b"", status, {"Retry-After": "0"}) for _ in range(3)]
    server.routes["/a.bin"] = lambda asked: busy.pop() if busy else of(b"abc")
    fetch(f"{server.url}/a.bin", to)
    assert contents(to) == {"a.bin": b"abc"}


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [(404, NotFound, "There is nothing at"), (403, Unavailable, "NETRC"), (400, Unavailable, "400"),
     (500, Unavailable, "500")],
)  # fmt: skip
def test_what_cannot_be_had_is_said_without_what_may_be_secret(
    server: Server, to: Path, status: int, error: type[Exception], words: str
) -> None:
    server.routes["/a.bin"] = Answer(b"", status)
    with pytest.raises(error, match=words) as caught:
        fetch(f"{server.url}/a.bin?sig=sEcReT", to)
    assert "sEcReT" not in str(caught.value)


def test_a_server_that_is_not_there_is_said_to_be(to: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Unavailable, match=f"http://127.0.0.1:{port} cannot be read from"):
        fetch(f"http://127.0.0.1:{port}/a?sig=x", to)


def test_a_server_that_refuses_at_first_is_asked_once_more_only(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", pauses.append)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="cannot be read from"):
            fetch(f"http://127.0.0.1:{probe.getsockname()[1]}/a", to)
    assert len(pauses) == 1


def test_a_name_that_nobody_knows_is_asked_for_once(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        asked.append(1)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    asked: list[int] = []
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(patience.Lasting, match="cannot be read from"):
        fetch("http://nobody.invalid/a", to)
    assert len(asked) == 1


def test_redirects_are_followed_and_credentials_stay_behind(
    server: Server, home: Path, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "netrc").write_text("machine 127.0.0.1 login me password pw\n")
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    server.routes["/first"] = Answer(b"", 302, {"Location": f"{server.url.replace('127.0.0.1', 'localhost')}/a.bin"})
    server.routes["/a.bin"] = of(b"abc")
    fetch(f"{server.url}/first", to)
    assert contents(to) == {"first": b"abc"}
    assert all(("authorization" in asked.headers) == (asked.path == "/first") for asked in server.log)


def test_a_redirect_in_a_circle_ends(server: Server, to: Path) -> None:
    server.routes["/a"] = Answer(b"", 302, {"Location": "/a"})
    with pytest.raises(Unavailable, match="redirects in a circle"):
        fetch(f"{server.url}/a", to)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "//"])
def test_a_redirect_to_something_else_is_not_followed(server: Server, to: Path, location: str) -> None:
    server.routes["/a"] = Answer(b"", 302, {"Location": location})
    with pytest.raises((InvalidRequest, Unavailable)):
        fetch(f"{server.url}/a", to)


def test_a_digest_is_checked_and_a_byte_flipped_on_the_way_refused(server: Server, to: Path) -> None:
    flipped = bytearray(LARGE)
    flipped[12345678] ^= 1
    digest = hashlib.sha256(LARGE).hexdigest()
    server.routes["/a.bin"] = of(bytes(flipped))
    with pytest.raises(Damaged, match="arrived damaged"):
        fetch(f"{server.url}/a.bin#sha256={digest}", to)
    assert not list(to.glob("*"))
    server.routes["/a.bin"] = of(LARGE, etag=of(bytes(flipped)).etag)
    assert fetch(f"{server.url}/a.bin#sha256={digest}", to) == f"{server.url}/a.bin#sha256={digest}"
    assert contents(to) == {"a.bin": LARGE}, "nothing of what was damaged is used"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *plain) + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_a_redirect_from_https_to_http_is_not_followed(
    server: Server, to: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server.routes["/a.bin"] = of(b"abc")
    with Server(certificate).running() as safe:
        safe.routes["/a.bin"] = of(b"abc")
        safe.routes["/down"] = Answer(b"", 302, {"Location": f"{server.url}/a.bin?sig=sEcReT"})
        safe.routes["/along"] = Answer(b"", 302, {"Location": "/a.bin"})
        fetch(f"{safe.url}/along", to)
        with pytest.raises(InvalidRequest, match="not https: that is not followed") as caught:
            fetch(f"{safe.url}/down", to)
    assert "sEcReT" not in str(caught.value)
    assert server.log == []


def test_a_certificate_that_nobody_vouches_for_is_refused(to: Path, certificate: Path) -> None:
    with Server(certificate).running() as unsafe:
        unsafe.routes["/a.bin"] = of(b"abc")
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(f"{unsafe.url}/a.bin", to)


def test_what_progress_raises_ends_the_fetch_and_the_next_goes_on(server: Server, to: Path) -> None:
    class Enough(Exception):
        pass

    def stop(there: int, total: int) -> None:
        if there > 5 * 2**20:
            raise Enough

    server.routes["/a.bin"] = of(LARGE)
    with pytest.raises(Enough):
        fetch(f"{server.url}/a.bin", to, progress=stop)
    there, before = journaled(to), server.sent
    assert there > 2**20
    fetch(f"{server.url}/a.bin", to)
    assert contents(to) == {"a.bin": LARGE}
    assert server.sent - before <= len(LARGE) - there + 2**20


def test_two_that_fetch_to_one_folder_at_once_harm_nobody(server: Server, to: Path) -> None:
    server.routes["/a.bin"] = of(LARGE)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            fetch(f"{server.url}/a.bin", to)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One may have taken over what the other was at; what is there is whole or nothing.
    assert len(failed) < 2
    assert contents(to) == {"a.bin": LARGE}


def test_a_server_that_sends_more_than_it_was_asked_for_is_refused(server: Server, to: Path) -> None:
    def more(asked: Asked) -> Answer:
        span = asked.headers["range"].removeprefix("bytes=").partition("-")
        start, end = int(span[0]), int(span[2])
        body = b"x" * (end - start + 1 + (0 if end == 0 else 7))
        # Without a length the client takes what comes.
        return Answer(body, 206, {"Content-Range": f"bytes {start}-{end}/100", "ETag": '"a"'}, length=False)

    server.routes["/a.bin"] = more
    with pytest.raises(Damaged, match="More of"):
        fetch(f"{server.url}/a.bin", to)


@pytest.mark.parametrize("answer", [{"has_ranges": False}, {"length": False, "has_ranges": False}, {"packed": True}])
def test_what_would_fill_the_disk_is_not_fetched_to_its_end(
    server: Server, to: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, bool]
) -> None:
    body = bytes(2**26)
    if answer.pop("packed", False):
        server.routes["/a.bin"] = Answer(gzip.compress(body, 1), headers={"Content-Encoding": "gzip"})
    else:
        server.routes["/a.bin"] = of(body, **answer)
    left = [2**27] * 3 + [0] * 100
    monkeypatch.setattr(room, "room", lambda folder: left.pop(0))
    monkeypatch.setattr(room, "LOOK_EVERY", 2**20)
    with pytest.raises(room.NoSpace, match="modelyard gc"):
        fetch(f"{server.url}/a.bin", to)
    assert len(left) >= 90
    assert not to.exists() or not contents(to)


def test_a_file_that_is_too_large_for_the_disk_is_not_begun(
    server: Server, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.routes["/a.bin"] = of(LARGE)
    monkeypatch.setattr(room, "LEFT_FREE", 2**62)
    with pytest.raises(room.NoSpace):
        fetch(f"{server.url}/a.bin", to)
    assert server.sent <= 1


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_server_that_trickles_is_given_up(
    server: Server, to: Path, monkeypatch: pytest.MonkeyPatch, has_ranges: bool
) -> None:
    over = threading.Event()

    def trickle(sent: int) -> None:
        over.wait(0.02)

    server.routes["/a.bin"] = of(LARGE[: 2**20], has_ranges=has_ranges)
    server.sending = trickle
    server.piece = 1
    monkeypatch.setattr(patience, "_WINDOW", 0.2)
    with pytest.raises(Unavailable, match="too slow"):
        fetch(f"{server.url}/a.bin", to)
    over.set()


@pytest.mark.parametrize(
    ("address", "is_refused"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("0.0.0.0", True), ("0.1.2.3", True), ("::1", True), ("::", True),
        ("169.254.1.1", True), ("fe80::1%eth0", True), ("::ffff:127.0.0.1", True), ("::127.0.0.1", True),
        ("64:ff9b::169.254.169.254", True), ("64:ff9b:1::7f00:1", True), ("2002:7f00:1::", True),
        ("2002:a9fe:a9fe::1", True), ("fd00:ec2::254", True), ("100.100.100.200", True),
        ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.1.1", False), ("fd12::1", False), ("8.8.8.8", False),
        ("2606:4700::1111", False), ("64:ff9b::8.8.8.8", False), ("2002:808:808::", False),
    ],
)  # fmt: skip
def test_which_addresses_nothing_is_fetched_from_for_callers(address: str, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(InvalidRequest, match="MODELYARD_IMPORT_HOSTS"):
            Hosts().check_address("host.example", address)
    else:
        Hosts().check_address("host.example", address)
    Hosts(named=frozenset({"host.example"})).check_address("Host.Example.", address)
    Hosts(named=frozenset({"*"})).check_address("any.example", address)


def test_a_connection_to_this_machine_is_ended_before_anything_is_sent(server: Server, to: Path) -> None:
    server.routes["/a.bin"] = of(b"abc")
    with pytest.raises(InvalidRequest, match="own machine"):
        fetch(f"{server.url}/a.bin", to, hosts=Hosts())
    assert not server.log
    fetch(f"{server.url}/a.bin", to, hosts=Hosts(named=frozenset({"127.0.0.1"})))
    assert contents(to) == {"a.bin": b"abc"}
