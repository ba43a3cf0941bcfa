"""An identity provider: discovery document and keys over HTTP on this machine, and tokens signed with real keys."""

import base64
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

AUDIENCE = "modelyard"
_ALGORITHMS = ["RS256", "RS512", "PS256", "ES256", "Ed25519"]
# Making an RSA key costs a tenth of a second; two are enough for all tests.
RSA = [RSAKey.generate_key(2048), RSAKey.generate_key(2048)]


def signed_by_hand(head, content, key):
    """A token that a library would refuse to make: ``key`` signs it by RS256, bytes by HS256."""
    told = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (json.dumps(head).encode(), content))
    if isinstance(key, bytes):
        signature = hmac.digest(key, told, "sha256")
    else:
        signature = key.private_key.sign(told, padding.PKCS1v15(), hashes.SHA256())
    return (told + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


class Issuer:
    """Serves ``keys`` (by kid) as they are now. ``asked`` has the path of each request; ``down``: answers 500."""

    def __init__(self):
        self.keys = {"one": RSA[0]}
        self.asked = []
        self.down = False
        self.document = None
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked.append(self.path)
                found = None if issuer.down else issuer.answer(self.path)
                self.send_response(200 if found is not None else 500)
                self.end_headers()
                self.wfile.write(json.dumps(found).encode())

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def answer(self, path):
        if path == "/.well-known/openid-configuration":
            return self.document or {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        if path == "/keys":
            return {
                "keys": [{**key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, key in self.keys.items()]
            }
        return None

    def claims(self, **changes):
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "u-1", "iat": now, "nbf": now, "exp": now + 600}
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, kid="one", *, key=None, algorithm="RS256", header=None, **changes):
        """A token signed with the key ``kid`` (or ``key``); ``changes`` of its claims, None takes one out."""
        key = key if key is not None else self.keys[kid]
        content = json.dumps(self.claims(**changes)).encode()
        head = {"alg": algorithm, "typ": "JWT", **({"kid": kid} if kid else {}), **(header or {})}
        registry = jws.JWSRegistry(algorithms=_ALGORITHMS, strict_check_header=False)
        if "crit" in head or "b64" in head:
            return signed_by_hand(head, content, key)
        return jws.serialize_compact(head, content, key, registry=registry)

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


__all__ = ["AUDIENCE", "RSA", "ECKey", "Issuer", "OKPKey", "RSAKey", "signed_by_hand"]
