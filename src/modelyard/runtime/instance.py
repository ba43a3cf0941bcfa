"""``instance.json``: what the backend tells a worker process about the instance that it is."""

from __future__ import annotations

import hmac
import math
from pathlib import Path
from typing import Any

import msgspec

from modelyard.runtime.errors import LoadFailure

INSTANCE_FILE = "instance.json"


class Resources(msgspec.Struct, frozen=True):
    """``cpu`` in cores (None: one thread), ``memory`` in bytes (None: no limit)."""

    cpu: float | None = None
    memory: int | None = None


class Instance(msgspec.Struct, frozen=True):
    """The fields that a worker needs; the file may hold more. ``source`` is a path; sizes in bytes."""

    instance: str
    model: str
    generation: int
    engine: str
    source: str | None
    secret: str
    options: dict[str, Any] = {}
    trusted: bool = False
    resources: Resources = Resources()
    shared_memory: int | None = None
    working_dir: str | None = None

    @property
    def threads(self) -> int:
        """How many threads one model may compute with."""
        return max(1, math.ceil(self.resources.cpu or 1))


def read(folder: Path) -> Instance:
    """Read ``folder``/instance.json.

    Raises:
        LoadFailure: (``invalid_instance``) if it is missing or does not hold what it should.
    """
    try:
        return msgspec.json.decode((folder / INSTANCE_FILE).read_bytes(), type=Instance)
    except (OSError, msgspec.DecodeError) as error:
        raise LoadFailure("invalid_instance", f"{folder / INSTANCE_FILE} cannot be used: {error}") from error


def proof(secret: str, nonce: str) -> str:
    """HMAC-SHA256 of ``nonce`` under ``secret``, all three in hex: by it a worker shows whose it is.

    Raises:
        ValueError: if one of them is not hex.
    """
    return hmac.digest(bytes.fromhex(secret), bytes.fromhex(nonce), "sha256").hex()
