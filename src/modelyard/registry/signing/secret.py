"""Signatures by a secret that both sides have: HMAC-SHA-256 over a statement of our own, for closed installations.

The statement names the version, with its namespace, since several may have one secret; and the manifest, which has the
digests of everything that the version is made of. It and the MAC are one JSON document in one spelling (here in two
lines)::

    {"format":"modelyard.hmac/1","key":"<fingerprint>","namespace":"default","model":"pat","version":"1.4.2",
     "manifest":"sha256:…","mac":"…"}

The MAC is over the same without itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets as random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.signing import MAX_BUNDLE
from modelyard.registry.signing.keys import read_own, write_new

FORMAT: Final = "modelyard.hmac/1"
SUFFIX: Final = ".hmac"
_LEAST: Final = 32
# What a fingerprint is the MAC of. Not a hash of the secret: one that is too simple would be found from that.
_WORD: Final = b"modelyard.hmac/1 fingerprint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a statement is about."""

    namespace: str
    model: str
    version: str
    manifest: str


class Secret:
    """A secret, which it never shows."""

    __slots__ = ("_bytes",)

    def __init__(self, content: bytes) -> None:
        """Raises InvalidRequest: it is too short."""
        # An editor's newline is none of it.
        self._bytes = content.strip()
        if len(self._bytes) < _LEAST:
            message = f"A secret has {_LEAST} random bytes at least (modelyard keys generate NAME --hmac makes one)."
            raise InvalidRequest([Problem("key", "invalid_key", message)])

    @classmethod
    def read(cls, file: Path) -> Secret:
        """Raises InvalidRequest (too short), OSError (not there, or not its owner's alone)."""
        return cls(read_own(file))

    @property
    def fingerprint(self) -> str:
        return hmac.digest(self._bytes, _WORD, hashlib.sha256).hex()

    def sign(self, signed: Signed) -> str:
        """The bundle."""
        statement = _statement(signed, self.fingerprint)
        mac = hmac.digest(self._bytes, _encoded(statement), hashlib.sha256).hex()
        return _encoded(statement | {"mac": mac}).decode()

    def has_signed(self, signed: Signed, bundle: str) -> bool:
        """Whether this is, to the letter, the bundle that the secret makes of it."""
        return hmac.compare_digest(self.sign(signed).encode(), bundle.encode("utf-8", "replace"))


def generate(folder: Path, name: str) -> Path:
    """Make ``NAME.hmac``, for its owner's eyes, never over a file that is there. Raises OSError."""
    path = folder / f"{name}{SUFFIX}"
    write_new(path, random.token_hex(_LEAST).encode() + b"\n", 0o600)
    return path


def claimed_key(bundle: str, signed: Signed) -> str:
    """The fingerprint of the secret by which the bundle says it was made.

    Raises:
        InvalidRequest: it is none, or says that it is of another version
    """
    if len(bundle) > MAX_BUNDLE:
        raise _refused("invalid_bundle", f"A bundle has at most {MAX_BUNDLE} bytes.")
    try:
        document = json.loads(bundle)
    except (ValueError, RecursionError):
        raise _refused("invalid_bundle", "This is no bundle: it is not JSON, or was cut off.") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _refused("invalid_bundle", f"This is no HMAC bundle of the format {FORMAT} (modelyard sign --hmac).")
    if (namespace := document.get("namespace")) != signed.namespace:
        raise _refused("other_version", f"This bundle signs for namespace {str(namespace)[:200]}, not for this one.")
    of = f"{document.get('model')}@{document.get('version')}"
    if (document.get("model"), document.get("version")) != (signed.model, signed.version):
        raise _refused("other_version", f"This bundle signs {of[:200]}, not {signed.model}@{signed.version}.")
    if document.get("manifest") != signed.manifest:
        raise _refused("other_version", f"This bundle signs other bytes than those that {of} has.")
    return str(document.get("key"))


def _statement(signed: Signed, fingerprint: str) -> dict[str, str]:
    return {
        "format": FORMAT, "key": fingerprint, "namespace": signed.namespace, "model": signed.model,
        "version": signed.version, "manifest": signed.manifest,
    }  # fmt: skip


def _encoded(document: dict[str, str]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _refused(code: str, message: str) -> InvalidRequest:
    return InvalidRequest([Problem("bundle", code, message)])
