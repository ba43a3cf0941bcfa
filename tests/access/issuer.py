"""An identity provider over HTTP on this machine: discovery document, keys, sign-in, and tokens that are signed."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

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
    """Serves ``keys`` (by kid) as they are now. ``asked`` has the path of each request; ``down``: answers 500.

    Whoever comes to ``/authorize`` is signed in already, as somebody of whom tokens say ``person``. ``clients``: ids
    and secrets (empty: a public client).
    """

    def __init__(self):
        self.keys = {"one": RSA[0]}
        self.asked = []
        self.down = False
        self.document = None
        self.person = {}
        self.clients = {"dashboard": ""}
        self.codes = {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked.append(self.path)
                if self.path.startswith("/authorize?") and not issuer.down:
                    self.send_response(302)
                    self.send_header("Location", issuer.authorize(dict(parse_qsl(urlsplit(self.path).query))))
                    self.end_headers()
                    return
                found = None if issuer.down else issuer.answer(self.path)
                self.send_response(200 if found is not None else 500)
                self.end_headers()
                self.wfile.write(json.dumps(found).encode())

            def do_POST(self):
                issuer.asked.append(self.path)
                form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
                status, found = issuer.exchange(form, self.headers.get("Authorization", ""))
                self.send_response(500 if issuer.down else status)
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
            endpoints = {"authorization_endpoint": f"{self.url}/authorize", "token_endpoint": f"{self.url}/token"}
            return self.document or {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **endpoints}
        if path == "/keys":
            return {
                "keys": [{**key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, key in self.keys.items()]
            }
        return None

    def authorize(self, asked):
        """Back to who asked, with a code."""
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert asked["client_id"] in self.clients
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(12)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.url})}"

    def exchange(self, form, authorization):
        """What a code is worth, once, to the client that asked for it and has its verifier."""
        secret = self.clients.get(form.get("client_id"))
        basic = base64.b64encode(f"{form.get('client_id')}:{secret}".encode()).decode()
        if secret is None or authorization != (f"Basic {basic}" if secret else ""):
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if asked is None or asked["redirect_uri"] != form["redirect_uri"] or asked["client_id"] != form["client_id"]:
            return 400, {"error": "invalid_grant"}
        if not hmac.compare_digest(asked["code_challenge"].encode(), challenge):
            return 400, {"error": "invalid_grant"}
        claims = {"aud": form["client_id"], "nonce": asked["nonce"], **self.person}
        return 200, {"token_type": "Bearer", "access_token": "opaque", "id_token": self.token(**claims)}

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
