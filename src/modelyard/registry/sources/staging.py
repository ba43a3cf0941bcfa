"""Where what is fetched lies until it is pushed: a folder of the user's cache, named after the source.

One that a process which was cut off has left is gone on with by the next that fetches the same. While somebody works
in one, whoever else comes makes another: two never share one, and the work is done twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from modelyard.domain.errors import Unavailable
from modelyard.registry.content.leases import Lease

_FETCHING: Final = "fetching"
_LEASE: Final = ".lease"
_FORGOTTEN: Final = 14 * 24 * 3600.0
# A lease is touched each second. One that was not for longer is looked at until it is seen to be nobody's.
_SILENT: Final = 10.0
_WATCH: Final = 6.0
_LOOK: Final = 0.2


@contextmanager
def staged(source: str) -> Iterator[Path]:
    """A folder for what comes from ``source``, whatever an earlier try has left in it. It is removed when the block
    comes to its end, and kept when it raises.

    Raises:
        Unavailable: there is no place for it
    """
    base = _base()
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_old(base)
        folder, lease = _taken(base, hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest())
    except OSError as error:
        message = f"What is fetched cannot be kept in {base}: {error.strerror}. XDG_CACHE_HOME names another place."
        raise Unavailable(message) from error
    try:
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.utime(folder)
        lease.release()


def _base() -> Path:
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The standard says that one that is relative counts for nothing.
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "modelyard" / _FETCHING


def _taken(base: Path, digest: str) -> tuple[Path, Lease]:
    """One that is nobody's any more, or a new one."""
    for folder in sorted(base.glob(f"{digest}.*"), key=_age):
        if not folder.name.endswith(_LEASE) and (lease := _lease_of(folder)) is not None:
            if folder.exists():
                return folder, lease
            lease.release()
    folder = base / f"{digest}.{secrets.token_hex(8)}"
    lease = Lease(_lease_path(folder))
    lease.take()
    folder.mkdir(mode=0o700)
    return folder, lease


def _lease_of(folder: Path) -> Lease | None:
    """The folder's lease, if nobody has it."""
    lease, path = Lease(_lease_path(folder)), _lease_path(folder)
    # The first call may only take away that of one who has ended.
    if lease.take() or lease.take():
        return lease
    deadline = time.monotonic() + _WATCH
    with contextlib.suppress(FileNotFoundError):
        # On another machine, or before this one was started anew, nobody can be seen to have ended.
        while path.stat().st_mtime < time.time() - _SILENT and time.monotonic() < deadline:
            time.sleep(_LOOK)
            if lease.take():
                return lease
    return lease if not path.exists() and lease.take() else None


def _lease_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{_LEASE}")


def _forget_old(base: Path) -> None:
    for folder in base.iterdir():
        if _age(folder) < _FORGOTTEN:
            continue
        if folder.name.endswith(_LEASE):
            # Of one who was cut off before there was a folder, or after.
            folder.unlink(missing_ok=True)
            continue
        lease = Lease(_lease_path(folder))
        if lease.take() or lease.take():
            shutil.rmtree(folder, ignore_errors=True)
            lease.release()


def _age(folder: Path) -> float:
    """Seconds since somebody worked in it."""
    times = [0.0]
    for path in (folder, _lease_path(folder)):
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return time.time() - max(times)
