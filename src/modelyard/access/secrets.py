"""Secrets of specs: sealed as they come in, opened only for the process that they are for. What may hold secrets and
only has to be known again is fingerprinted under the same keys.

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
from modelyard.domain.secrets import VERSION, Secret, key_of

# Bytes of a value; Linux takes no longer variable (MAX_ARG_STRLEN).
MAX_VALUE: Final = 96 * 2**10

_NONCE: Final = 12
_KEY: Final = 32
# Nothing else is made under these keys by HMAC; where it is, it begins otherwise.
_FINGERPRINT: Final = b"modelyard request\x00"
_OF_PROCESS: Final = secrets.token_bytes(_KEY)
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
        return Secret(self.seal_bytes(namespace, variable, value.encode()))

    def seal_bytes(self, namespace: str, variable: str, value: bytes) -> str:
        """As :meth:`seal`, of anything."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        name, key = next(iter(self._all().items()))
        nonce = secrets.token_bytes(_NONCE)
        content = nonce + AESGCM(key).encrypt(nonce, value, _where(namespace, variable))
        return f"{VERSION}.{name}.{base64.urlsafe_b64encode(content).decode()}"

    def open(self, namespace: str, variable: str, secret: Secret) -> str:
        """The value.

        Raises:
            SecretLost: its key is not there, or it was sealed for another place, or it is damaged.
        """
        return self.open_bytes(namespace, variable, secret.sealed).decode()

    def open_bytes(self, namespace: str, variable: str, sealed: str) -> bytes:
        """As :meth:`open`, of what :meth:`seal_bytes` made."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        version, _, rest = sealed.partition(".")
        name, _, text = rest.partition(".")
        key = self._all().get(name) if version == VERSION else None
        if key is None:
            raise SecretLost(
                f"The secret {variable} cannot be opened: it was sealed under key {name[:16]!r}, which is not here. "
                "Put that key back (secrets.key in the home, or MODELYARD_SECRETS_KEY), or set the secret anew."
            )
        try:
            content = base64.urlsafe_b64decode(text)
            return AESGCM(key).decrypt(content[:_NONCE], content[_NONCE:], _where(namespace, variable))
        except (InvalidTag, ValueError):
            raise SecretLost(
                f"The secret {variable} cannot be opened: it is damaged, or was sealed for another place. Set it anew."
            ) from None

    def again(self, namespace: str, variable: str, sealed: str) -> str:
        """What is sealed under any key, sealed under the newest; as it is if it is that already. Raises SecretLost."""
        if key_of(sealed) == self.names[0]:
            return sealed
        return self.seal_bytes(namespace, variable, self.open_bytes(namespace, variable, sealed))

    @property
    def names(self) -> tuple[str, ...]:
        """Which keys there are, the newest first; nothing of them follows. Raises as :meth:`seal`."""
        return tuple(self._all())

    def open_all(self, namespace: str, sealed: Mapping[str, Secret]) -> dict[str, str]:
        """The values by variable. Raises SecretLost."""
        return {variable: self.open(namespace, variable, secret) for variable, secret in sealed.items()}

    def is_of(self, namespace: str, variable: str, secret: Secret, value: str) -> bool:
        """Whether ``secret`` is ``value``; one that cannot be opened is nothing."""
        try:
            return hmac.compare_digest(self.open(namespace, variable, secret).encode(), value.encode())
        except SecretLost:
            return False

    @property
    def is_open(self) -> bool:
        """Whether the keys are at hand, so that nothing here blocks."""
        return bool(self._keys)

    def fingerprints(self, content: bytes) -> tuple[str, ...]:
        """By which ``content`` is known again without being kept: ``KEY.HMAC`` under each key, in their order. Whoever
        has no key cannot try out what it might have been. Where there are no keys to be had, under one of this
        process. Blocks where they are not there yet."""
        try:
            keys = self._all()
        except SecretLost:
            keys = {_name(_OF_PROCESS): _OF_PROCESS}
        return tuple(f"{name}.{hmac.digest(key, _FINGERPRINT + content, 'sha256').hex()}" for name, key in keys.items())

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
