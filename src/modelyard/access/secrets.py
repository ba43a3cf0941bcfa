"""Secrets of specs: sealed as they come in, opened only for the process that they are for.

AES-256-GCM (NIST SP 800-38D) under keys of the home or the settings, with a random nonce each. What is sealed is bound
to its namespace and the variable's name: it opens nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from modelyard.domain.errors import ModelyardError
from modelyard.domain.secrets import Secret

# Bytes of a value; Linux takes no longer variable (MAX_ARG_STRLEN).
MAX_VALUE: Final = 96 * 2**10

_VERSION: Final = "v1"
_NONCE: Final = 12
_KEY: Final = 32
_URL_SAFE: Final = str.maketrans("-_", "+/")


class SecretLost(ModelyardError):
    """A secret cannot be opened: the key that it was sealed under is not there."""

    code = "secret_lost"
    http_status = 500
    title = "Secret cannot be opened"


class BadKeys(ValueError):
    """What should be keys is none."""


class SecretBox:
    """Seals under the first of its keys and opens under any. They are got from ``load`` when they are first needed."""

    def __init__(self, load: Callable[[], tuple[bytes, ...]]) -> None:
        self._load = load
        self._keys: dict[str, bytes] = {}

    def seal(self, namespace: str, variable: str, value: str) -> Secret:
        """Blocks where the keys are not there yet. Raises SecretLost: they cannot be had."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        name, key = next(iter(self._all().items()))
        nonce = secrets.token_bytes(_NONCE)
        content = nonce + AESGCM(key).encrypt(nonce, value.encode(), _where(namespace, variable))
        return Secret(f"{_VERSION}.{name}.{base64.urlsafe_b64encode(content).decode()}")

    def open(self, namespace: str, variable: str, secret: Secret) -> str:
        """The value.

        Raises:
            SecretLost: its key is not there, or it was sealed for another place, or it is damaged.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        version, _, rest = secret.sealed.partition(".")
        name, _, text = rest.partition(".")
        key = self._all().get(name) if version == _VERSION else None
        if key is None:
            raise SecretLost(
                f"The secret {variable} cannot be opened: it was sealed under key {name[:16]!r}, which is not here. "
                "Put that key back (secrets.key in the home, or MODELYARD_SECRETS_KEY), or set the secret anew."
            )
        try:
            content = base64.urlsafe_b64decode(text)
            return AESGCM(key).decrypt(content[:_NONCE], content[_NONCE:], _where(namespace, variable)).decode()
        except (InvalidTag, ValueError):
            raise SecretLost(
                f"The secret {variable} cannot be opened: it is damaged, or was sealed for another place. Set it anew."
            ) from None

    def open_all(self, namespace: str, sealed: Mapping[str, Secret]) -> dict[str, str]:
        """The values by variable. Raises SecretLost."""
        return {variable: self.open(namespace, variable, secret) for variable, secret in sealed.items()}

    def is_of(self, namespace: str, variable: str, secret: Secret, value: str) -> bool:
        """Whether ``secret`` is ``value``; one that cannot be opened is nothing."""
        try:
            return hmac.compare_digest(self.open(namespace, variable, secret).encode(), value.encode())
        except SecretLost:
            return False

    def _all(self) -> dict[str, bytes]:
        if not self._keys:
            try:
                self._keys = {_name(key): key for key in self._load()}
            except (OSError, BadKeys) as error:
                raise SecretLost(f"The keys for secrets cannot be had: {error}") from None
        return self._keys


def box_of(file: Path, configured: str = "") -> SecretBox:
    """A box under the keys that are ``configured``, else those in ``file``, which is made with a new one if it is not
    there."""
    return SecretBox(lambda: parse_keys(configured) if configured else _kept(file))


def parse_keys(text: str) -> tuple[bytes, ...]:
    """Keys with commas, spaces or newlines between them: 32 bytes each, as 64 hex digits or in base64.

    Raises:
        BadKeys: there is none, or one is no key. Nothing of them is in its message.
    """
    keys = []
    for number, part in enumerate(text.replace(",", " ").split(), 1):
        try:
            is_hex = len(part) == 2 * _KEY
            key = bytes.fromhex(part) if is_hex else base64.b64decode(part.translate(_URL_SAFE), validate=True)
        except (ValueError, binascii.Error):
            key = b""
        if len(key) != _KEY:
            raise BadKeys(f"key {number} is not 32 bytes in base64 or as 64 hex digits.")
        keys.append(key)
    if not keys:
        raise BadKeys("there is none.")
    return tuple(keys)


def _kept(file: Path) -> tuple[bytes, ...]:
    """Raises OSError, BadKeys."""
    if not file.exists():
        _make(file)
    try:
        return parse_keys(file.read_text("ascii"))
    except BadKeys as error:
        raise BadKeys(f"in {file} {error}") from None


def _make(file: Path) -> None:
    """A new key; where another process has just made one, that holds. Raises OSError."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w") as new:
            new.write(secrets.token_hex(_KEY) + "\n")
            new.flush()
            # Specs sealed under it outlive a loss of power.
            os.fsync(new.fileno())
        try:
            os.link(temporary, file)
        except FileExistsError:
            return
    finally:
        temporary.unlink()


def _name(key: bytes) -> str:
    """Says which key it is and nothing of it."""
    return hashlib.sha256(b"modelyard secrets key\x00" + key).hexdigest()[:12]


def _where(namespace: str, variable: str) -> bytes:
    return f"{namespace}\x00{variable}".encode()
