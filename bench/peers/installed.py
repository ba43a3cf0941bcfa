"""Has the peers installed: Python packages of these versions in a virtual environment of their own, made once below the
user's cache, and Debian's rsync where the machine has none."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PINS = ("boto3==1.44.5", "hf-xet==1.8.0", "huggingface-hub==2.4.0", "mlflow-skinny==3.17.2")
# What Debian's rsync needs beside a C library.
_RSYNC = ("rsync", "libacl1", "liblz4-1", "libpopt0", "libxxhash0", "libzstd1")
_MINUTES = 10


class Lacking(Exception):
    """A peer cannot be had here; its text says why."""


@dataclass(frozen=True)
class Rsync:
    program: str
    version: str
    environment: dict[str, str] = field(default_factory=dict)


def version_of(package: str) -> str:
    """As it is pinned: "boto3 1.44.5"."""
    return next(pin.replace("==", " ") for pin in PINS if pin.startswith(f"{package}=="))


def peers() -> Path:
    """The interpreter that has them. Raises Lacking."""
    return environment(_cache(), "peers", PINS)


def environment(below: Path, name: str, pins: Sequence[str]) -> Path:
    """The interpreter of a virtual environment with these packages; ``made`` beside its ``bin`` lists all that it got.
    Raises Lacking."""
    folder = below / f"{name}-{hashlib.sha256(' '.join((*pins, sys.version)).encode()).hexdigest()[:12]}"
    python, made = folder / "bin" / "python", folder / "made"
    if not made.exists():
        print(f"       Installing {name} (once)", flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "install", "--quiet", "--no-input", *pins])
        made.write_text(_run([*pip, "freeze"]))
    return python


def rsync() -> Rsync:
    """Raises Lacking."""
    program, environment = shutil.which("rsync"), {}
    if program is None:
        folder = _cache() / "rsync"
        found = folder / "usr" / "bin" / "rsync"
        if not found.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _run(["apt-get", "download", "--quiet=2", *_RSYNC], folder)
            for package in folder.glob("*.deb"):
                _run(["dpkg-deb", "--extract", str(package), str(folder)])
        program = str(found)
        libraries = {str(path.parent) for path in folder.rglob("*.so.*")}
        environment = {"LD_LIBRARY_PATH": ":".join(sorted(libraries))}
    said = _run([program, "--version"], environment=environment)
    return Rsync(program, " ".join(said.split()[:3:2]), environment)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelyard-bench"


def _run(command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **(environment or {})}, timeout=_MINUTES * 60, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Lacking(f"{command[0]}: {error}") from error
    if done.returncode:
        raise Lacking(f"{Path(command[0]).name} {command[1]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout
