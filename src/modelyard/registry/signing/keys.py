"""Key files: made, read and named. Private keys are read and made only in the process of whoever signs."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.signing import MAX_PUBLIC_KEY

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

# What model-signing signs with; the names are OpenSSL's.
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_TAKEN: Final = "Signatures are made with ECDSA keys on P-256, P-384 or P-521 (modelyard keys generate makes one)."
_LONGEST: Final = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A public key in its one spelling: ``pem``; ``fingerprint`` is the SHA-256 of its DER; ``hint`` that of the PEM,
    by which a bundle names it."""

    key: EllipticCurvePublicKey
    pem: str
    fingerprint: str
    hint: str


def public_key(pem: str, path: str = "public_key") -> PublicKey:
    """Raises InvalidRequest at ``path``: it is none, or of a kind that signs no models."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    if len(pem) > MAX_PUBLIC_KEY:
        raise _refused(path, f"A public key has at most {MAX_PUBLIC_KEY} characters in PEM.")
    if "PRIVATE KEY" in pem:
        raise _refused(path, "This is a private key: nobody else may have it. Give the public one (NAME.pub).")
    try:
        key = serialization.load_pem_public_key(pem.encode("utf-8", "replace"))
    except (ValueError, UnsupportedAlgorithm):
        raise _refused(path, f"This is no public key in PEM. {_TAKEN}") from None
    return _named(_elliptic(key, path))


def check_private_key(file: Path) -> PublicKey:
    """The public half of the private key in ``file``.

    Raises:
        InvalidRequest: it is none, has a password, or is of a kind that signs no models
        OSError: it cannot be read
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    with file.open("rb") as opened:
        content = opened.read(_LONGEST)
    try:
        key: Any = serialization.load_pem_private_key(content, None)
    except TypeError:
        message = "This private key has a password. Write one without, where only you can read it (openssl pkey)."
        raise _refused("key", message) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _refused("key", f"This is no private key in PEM. {_TAKEN}") from None
    return _named(_elliptic(key.public_key(), "key"))


def generate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make ``NAME.key`` (a private key, for its owner's eyes) and ``NAME.pub``, never over a file that is there.

    Raises:
        OSError: they cannot be written, or one is there
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    if public.exists():
        raise FileExistsError(17, "There is a file already, and it may be needed", str(public))
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_new(private, secret, 0o600)
    write_new(public, _named(key.public_key()).pem.encode(), 0o644)
    return private, public


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Raises FileExistsError, saying so, where there is something already; OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError as error:
        raise FileExistsError(error.errno, "There is a file already, and it may be needed", str(path)) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def read_own(file: Path, limit: int = _LONGEST) -> bytes:
    """A file that nobody else can read.

    Raises:
        PermissionError: others can, or it is no plain file
        OSError: it cannot be read
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise PermissionError(1, "This is no plain file", str(file))
        if found.st_mode & 0o077:
            raise PermissionError(1, "Others can read or write this file; chmod 600 it", str(file))
        return opened.read(limit)


def _elliptic(key: Any, path: str) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if not isinstance(key, EllipticCurvePublicKey):
        kind = type(key).__name__.removeprefix("_").removesuffix("PublicKey")
        raise _refused(path, f"This key is of the kind {kind}. {_TAKEN}")
    if key.curve.name not in _CURVES:
        raise _refused(path, f"This key is on the curve {key.curve.name}. {_TAKEN}")
    return key


def _named(key: EllipticCurvePublicKey) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(
        key=key, pem=pem.decode(), fingerprint=hashlib.sha256(der).hexdigest(), hint=hashlib.sha256(pem).hexdigest()
    )


def _refused(path: str, message: str) -> InvalidRequest:
    return InvalidRequest([Problem(path, "invalid_key", message)])
