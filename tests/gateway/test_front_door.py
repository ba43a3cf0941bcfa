"""TLS by files that may be replaced, what browsers are told, and which pages may call."""

import json
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.gateway.conftest import AUTH, running_gateway, until

PAGE = "https://app.example"


def certify(folder: Path, serial: int) -> ssl.SSLContext:
    """A certificate in ``folder`` (cert.pem, key.pem), and a client's context that trusts it alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    return ssl.create_default_context(cadata=pem.decode())


@pytest.fixture
def files(tmp_path):
    return {"MODELYARD_TLS_CERT": str(tmp_path / "cert.pem"), "MODELYARD_TLS_KEY": str(tmp_path / "key.pem")}


def serial(port: int, **limits) -> int:
    """Of the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in limits.items():
        setattr(context, name, value)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line, context.wrap_socket(line) as tls:
        shown = tls.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number


async def test_the_front_door_speaks_tls_and_takes_a_new_certificate_while_it_serves(
    tmp_path, files, new_worker, make_route
):
    trust, worker = certify(tmp_path, 1001), new_worker()
    with running_gateway(start=False, MODELYARD_GRPC_PORT="0", **files) as gateway:
        (gateway.settings.routes_dir / "u.json").write_text(json.dumps(make_route("m", worker)))
        gateway.start()
        url = f"https://localhost:{gateway.port}"
        async with aiohttp.ClientSession(url, headers=AUTH, connector=aiohttp.TCPConnector(ssl=trust)) as http:
            for _ in range(3):  # and the short way
                async with http.post("/v2/models/m/infer", json={"inputs": "x" * 300_000}) as answer:
                    assert answer.status == 200
                    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
                    await answer.read()
            with pytest.raises(ssl.SSLError), pytest.warns(DeprecationWarning, match=r"TLSVersion\.TLSv1"):
                serial(gateway.port, maximum_version=ssl.TLSVersion.TLSv1_1, minimum_version=ssl.TLSVersion.TLSv1)
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as half:
                half.sendall(b"\x16\x03\x01")
                with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as plain:
                    plain.sendall(f"GET /v2 HTTP/1.1\r\nHost: localhost:{gateway.port}\r\n\r\n".encode())
                    told = plain.makefile("rb").read()
            assert b"tls_required" in told
            assert f"use https://localhost:{gateway.port} ".encode() in told
            # Half of a new pair, and what is none, change nothing.
            old = {name: (tmp_path / name).read_bytes() for name in ("cert.pem", "key.pem")}
            certify(tmp_path, 1002)
            new = {name: (tmp_path / name).read_bytes() for name in old}
            (tmp_path / "cert.pem").write_bytes(old["cert.pem"])

            async def refused():
                return "cannot be used" in gateway.log.read_text()

            await until(refused)
            grpc_port = int(gateway.grpc_address.rpartition(":")[2])
            assert serial(gateway.port) == serial(grpc_port) == 1001
            (tmp_path / "cert.pem").write_bytes(new["cert.pem"])

            async def renewed():
                return serial(gateway.port) == serial(grpc_port) == 1002

            await until(renewed)
            # Whoever is connected already goes on.
            async with http.post("/v2/models/m/infer", json={}) as answer:
                assert answer.status == 200


def test_a_certificate_that_cannot_be_used_is_refused_at_the_start(tmp_path, files):
    certify(tmp_path, 1)
    (tmp_path / "key.pem").write_text("nonsense")
    environment = {**files, "MODELYARD_HOME": str(tmp_path / "h"), "MODELYARD_PORT": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-m", "modelyard.gateway"], env=environment, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 2
    assert "cannot be used" in done.stderr
    assert "nonsense" not in done.stderr


async def test_browsers_are_told_what_not_to_do_with_an_answer(gateway, channel, worker, name, make_route, http):
    await channel.set(make_route(name, worker))
    for method, path in (("POST", f"/v2/models/{name}/infer"), ("GET", "/v2"), ("GET", "/nothing")):
        async with http.request(method, path, json={} if method == "POST" else None) as answer:
            assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]
            assert answer.headers.getall("Referrer-Policy") == ["no-referrer"]
            assert "Strict-Transport-Security" not in answer.headers
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_no_page_of_another_origin_may_call_unless_it_is_named(gateway, channel, worker, name, make_route, http):
    """Off by default."""
    await channel.set(make_route(name, worker))
    ask = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    async with http.options(f"/v2/models/{name}/infer", headers=ask) as answer:
        assert not [field for field in answer.headers if field.lower().startswith("access-control-")]
    async with http.post(f"/v2/models/{name}/infer", json={}, headers={"Origin": PAGE}) as answer:
        assert not [field for field in answer.headers if field.lower().startswith("access-control-")]


async def test_pages_of_origins_that_are_named_may_call(new_worker, make_route):
    worker = new_worker()
    with running_gateway(start=False, MODELYARD_CORS_ORIGINS=f"{PAGE}, http://localhost:3000") as gateway:
        (gateway.settings.routes_dir / "u.json").write_text(json.dumps(make_route("m", worker)))
        gateway.start()
        async with aiohttp.ClientSession(gateway.url) as http:
            ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x"}
            async with http.options("/v2/models/m/infer", headers=ask | {"Origin": PAGE}) as answer:
                assert answer.status == 200
                assert answer.headers["Access-Control-Allow-Origin"] == PAGE
                assert answer.headers["Access-Control-Allow-Headers"] == "authorization,x"
                assert "POST" in answer.headers["Access-Control-Allow-Methods"]
                assert "Access-Control-Allow-Credentials" not in answer.headers
            for origin, expected in {PAGE: PAGE, "https://evil.example": None, f"{PAGE}.evil.example": None}.items():
                for header, status in ((AUTH, 200), ({}, 401)):
                    head = {**header, "Origin": origin}
                    async with http.post("/v2/models/m/infer", json={}, headers=head) as answer:
                        assert answer.status == status
                        assert answer.headers.get("Access-Control-Allow-Origin") == expected
                        assert answer.headers["Vary"] == "Origin"


RAW_ERRORS = {
    "no HTTP": (b"nonsense\r\n\r\n", "malformed_request"),
    "a head too large": (b"GET /v2 HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "head_too_large"),
    "a target too long": (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", "target_too_long"),
    "two lengths": (
        b"POST /v2 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "malformed_request",
    ),
    "a length and chunks": (
        b"POST /v2 HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "malformed_request",
    ),
    "two transfer codings": (
        b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        "malformed_request unsupported_transfer_coding",
    ),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "plain_http_only"),
}


@pytest.mark.parametrize("case", RAW_ERRORS)
def test_what_is_no_request_is_told_so_with_the_headers_that_every_answer_has(gateway, case):
    sent, codes = RAW_ERRORS[case]
    with gateway.connect() as client:
        client.sendall(sent)
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    assert json.loads(body)["code"] in codes.split()
    fields = head.lower().split(b"\r\n")
    assert fields.count(b"x-content-type-options: nosniff") == 1
    assert fields.count(b"referrer-policy: no-referrer") == 1
    assert fields.count(b"connection: close") == 1


def test_that_a_caller_speaks_tls_where_it_is_not_spoken_is_in_the_log_once(own_gateway):
    own_gateway.start()
    for _ in range(2):
        with own_gateway.connect() as client, pytest.raises(ssl.SSLError, match=r"(?i)wrong.version"):
            ssl.create_default_context().wrap_socket(client, server_hostname="localhost")
    assert own_gateway.log.read_text().count("spoke TLS to this port") == 1


async def test_of_several_credentials_none_counts(gateway, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    for sent in (
        ("Bearer x", AUTH["Authorization"]),
        (AUTH["Authorization"], "Bearer x"),
        (AUTH["Authorization"],) * 2,
    ):
        async with aiohttp.ClientSession(gateway.url, headers=[("Authorization", value) for value in sent]) as http:
            for path in (f"/v2/models/{name}/infer", f"/v1/models/{name}:predict"):
                async with http.post(path, json={}) as answer:
                    assert answer.status == 401, path
            async with http.post("/v2/repository/index") as answer:
                assert name not in await answer.text()
