"""A token server as registries with bearer tokens have one beside them: small, and strict about who is asking."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.registry.oci.servers import serving

SERVICE: Final = "a-registry"
ISSUER: Final = "an-issuer"
USER: Final = "reader"
PASSWORD: Final = "s3cret!pw"
IDENTITY: Final = "identity-of-a-login"


@dataclass
class Tokens:
    """``given`` are the scopes that tokens were had for; they last for ``life`` seconds."""

    certificate: Path
    address: str = ""
    life: int = 300
    given: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)

    def auth(self) -> dict[str, object]:
        """The part of a registry's configuration that has it trust this server."""
        realm = f"http://{self.address}/token"
        bundle = str(self.certificate)
        return {"token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": bundle}}


@contextmanager
def tokens(home: Path) -> Iterator[Tokens]:
    home.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    state = Tokens(_certificate(home, key))
    chain = x509.load_pem_x509_certificate(state.certificate.read_bytes()).public_bytes(serialization.Encoding.DER)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            query = parse_qs(urlsplit(self.path).query)
            self.answer(query, allowed=self.headers.get("Authorization") == expected)

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            query = form | {"scope": form["scope"][0].split(" ")}
            is_right = form["grant_type"] == ["refresh_token"] and form["refresh_token"] == [IDENTITY]
            self.answer(query, allowed=is_right and "Authorization" not in self.headers)

        def answer(self, query: dict[str, list[str]], *, allowed: bool) -> None:
            state.methods.append(self.command)
            assert query["service"] == [SERVICE]
            if not allowed:
                self.send_response(401)
                self.end_headers()
                return
            state.given.append(" ".join(query["scope"]))
            now = int(time.time())
            claims = {
                "iss": ISSUER, "aud": SERVICE, "sub": USER, "exp": now + state.life, "nbf": now - 5, "iat": now - 5,
                "jti": str(len(state.given)),
                "access": [
                    {"type": kind, "name": name, "actions": actions.split(",")}
                    for kind, name, actions in (scope.split(":") for scope in query["scope"])
                ],
            }  # fmt: skip
            header = {"alg": "ES256", "typ": "JWT", "x5c": [base64.b64encode(chain).decode()]}
            token = _signed(header, claims, key)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"token": token, "expires_in": state.life}).encode())

    with serving(Handler) as address:
        state.address = address
        yield state


def _signed(header: object, claims: object, key: ec.EllipticCurvePrivateKey) -> str:
    """A JSON Web Token by ES256 (RFC 7515, RFC 7518)."""
    said = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    r, s = decode_dss_signature(key.sign(said.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{said}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _certificate(home: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens of a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = home / "tokens.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path
