"""Files of keys and secrets: how they are made, which are taken, and which are refused with what words."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from modelyard.domain.errors import InvalidRequest
from modelyard.registry.signing import keys, secret
from modelyard.registry.signing.secret import Secret

PEM = serialization.Encoding.PEM
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
PRIVATE = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()


def complaint(work: Callable[[], object]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        work()
    (problem,) = caught.value.problems
    assert problem.code == "invalid_key"
    return problem.message


def public_of(key: Any) -> str:
    pem: bytes = key.public_key().public_bytes(PEM, PUBLIC)
    return pem.decode()


def test_a_pair_is_made_for_its_owners_eyes_and_openssl_reads_it(tmp_path: Path) -> None:
    os.umask(before := os.umask(0))
    private, public = keys.generate(tmp_path, "signer")
    assert (private.name, public.name) == ("signer.key", "signer.pub")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) & ~before & 0o777 == 0o644 & ~before
    assert keys.check_private_key(private) == keys.public_key(public.read_text())
    derived = subprocess.run(
        ["openssl", "pkey", "-in", str(private), "-pubout"], capture_output=True, check=True, text=True
    )
    assert derived.stdout == public.read_text()
    key = keys.public_key(public.read_text())
    assert (key.key.curve.name, key.pem) == ("secp256r1", public.read_text())
    der = key.key.public_bytes(serialization.Encoding.DER, PUBLIC)
    assert key.fingerprint == hashlib.sha256(der).hexdigest()


def test_nothing_is_made_over_a_file_that_is_there(tmp_path: Path) -> None:
    keys.generate(tmp_path, "signer")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for left in ("signer.key", "signer.pub"):
        (tmp_path / left).unlink()
        with pytest.raises(FileExistsError, match="may be needed"):
            keys.generate(tmp_path, "signer")
        (tmp_path / left).write_bytes(before[tmp_path / left])
    made = secret.generate(tmp_path, "s")
    with pytest.raises(FileExistsError, match="may be needed"):
        secret.generate(tmp_path, "s")
    (tmp_path / "link.hmac").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        secret.generate(tmp_path, "link")
    assert not (tmp_path / "elsewhere").exists()
    assert {path: path.read_bytes() for path in before} == before
    assert made.exists()


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_curves_of_the_library_are_taken_in_any_spelling_of_pem(curve: ec.EllipticCurve, tmp_path: Path) -> None:
    key = ec.generate_private_key(curve)
    pem = public_of(key)
    assert keys.public_key(pem) == keys.public_key("Key of the team\n" + pem.replace("\n", "\r\n"))
    file = tmp_path / "k"
    file.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, PLAIN))
    assert keys.check_private_key(file).pem == pem


def test_keys_of_other_kinds_are_refused_by_their_kind(tmp_path: Path) -> None:
    edwards, old = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
    koblitz = ec.generate_private_key(ec.SECP256K1())
    for key, kind in ((edwards, "Ed25519"), (old, "RSA"), (koblitz, "secp256k1")):
        file = tmp_path / "k"
        file.write_bytes(key.private_bytes(PEM, PRIVATE, PLAIN))  # type: ignore[attr-defined]
        for said in (
            complaint(lambda k=key: keys.public_key(public_of(k))),  # type: ignore[misc]
            complaint(lambda f=file: keys.check_private_key(f)),  # type: ignore[misc]
        ):
            assert kind in said
            assert "P-256, P-384 or P-521" in said


def test_what_is_no_key_is_refused_and_never_repeated(tmp_path: Path) -> None:
    private, public = keys.generate(tmp_path, "signer")
    assert "private key" in complaint(lambda: keys.public_key(private.read_text()))
    assert private.read_text().splitlines()[1] not in complaint(lambda: keys.public_key(private.read_text()))
    for text in (
        "",
        "hello",
        public.read_text()[:-40],
        "\ud800",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
    ):
        assert "no public key in PEM" in complaint(lambda t=text: keys.public_key(t))  # type: ignore[misc]
    assert "at most" in complaint(lambda: keys.public_key("x" * 5000))
    assert "no private key in PEM" in complaint(lambda: keys.check_private_key(public))
    locked = tmp_path / "locked"
    key = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(key.private_bytes(PEM, PRIVATE, serialization.BestAvailableEncryption(b"word")))
    assert "has a password" in complaint(lambda: keys.check_private_key(locked))


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o666, 0o601])
def test_a_secret_that_others_can_read_is_none(tmp_path: Path, mode: int) -> None:
    made = secret.generate(tmp_path, "s")
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    Secret.read(made)
    made.chmod(mode)
    with pytest.raises(PermissionError, match="chmod 600"):
        Secret.read(made)


def test_a_secret_is_a_plain_file_of_32_bytes_at_least(tmp_path: Path) -> None:
    made = secret.generate(tmp_path, "s")
    assert len(made.read_bytes().strip()) == 64
    for content in (b"", b"x" * 31, b"x" * 31 + b"\n" * 10):
        made.write_bytes(content)
        assert "32 random bytes" in complaint(lambda: Secret.read(made))
    made.write_bytes(b"x" * 32)
    assert Secret.read(made).fingerprint == Secret(b"x" * 32 + b"\n").fingerprint
    (tmp_path / "l").symlink_to(made)
    with pytest.raises(OSError):
        Secret.read(tmp_path / "l")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(PermissionError, match="plain file"):
        Secret.read(tmp_path / "pipe")


def test_a_fingerprint_tells_secrets_apart_and_nothing_of_them() -> None:
    one, other = Secret(b"a" * 32), Secret(b"b" * 32)
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint != hashlib.sha256(b"a" * 32).hexdigest()
    assert "aaaa" not in repr(one)
    assert not hasattr(one, "__dict__")
