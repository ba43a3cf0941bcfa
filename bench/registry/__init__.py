"""The registry's bytes: pulled, told from an earlier version, spoilt on the way, wanted by many at once; each against
what else does that. The bytes are those that the origin says it has sent, records and lists among them."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from bench.lines import Worker
from bench.origin import WHAT, Origin, origin
from bench.registry.crowd import crowd
from bench.registry.deltas import delta, forget
from bench.registry.flips import flips
from bench.registry.here import here
from bench.registry.pulls import KEY, pulls
from bench.registry.scene import BUCKET, Report, begun
from bench.registry.weights import (
    HALF_COLUMNS,
    ROWS,
    TENSORS,
    fine_tuned,
    halves,
    trained,
    with_changes,
    with_insertion,
    write,
)

_SMALL = 6  # tensors


def registry(report: Report, *, pulls_only: bool = False) -> None:
    """A safetensors file of 1 GB; everything on one disk, in memory where the system keeps it."""
    home = Path(tempfile.mkdtemp(prefix="my-bench-"))
    (home / "served" / BUCKET).mkdir(parents=True)
    try:
        with contextlib.ExitStack() as stack:
            served = stack.enter_context(origin(home / "served"))
            ours = stack.enter_context(Worker("bench.ours", served.environment))
            scene = begun(report, home, served, ours, stack)
            tensors = trained()
            write(home / "first", tensors)
            write(home / "small", trained(_SMALL))
            took, size = scene.push("first")
            scene.tell("push of 1 GB to S3", f"{size / took / 1e9:.2f} GB/s")
            pulls(scene, "first")
            print(f"       The origin: {WHAT}; {_raw(served, size):.1f} GB/s to a client that only reads", flush=True)
            if pulls_only:
                return
            flips(scene, "small")
            crowd(scene, "first")
            write(home / "changed", with_changes(tensors))
            delta(scene, "1 % changed in 3 tensors", "first", "changed", 0.01)
            forget(scene, "changed")
            write(home / "inserted", with_insertion(tensors))
            delta(scene, "1 % inserted in the middle", "first", "inserted", 0.012)
            forget(scene, "inserted")
            small = trained(TENSORS, ROWS, HALF_COLUMNS)
            write(home / "half", halves(small))
            scene.push("half")
            write(home / "tuned", halves(fine_tuned(small)))
            delta(scene, "bfloat16, 8 % tuned", "half", "tuned", 0.06)
        here(report, home, home / "first")
    finally:
        shutil.rmtree(home)


def _raw(served: Origin, size: int) -> float:
    """GB a second over one connection."""
    address, buffer = urlsplit(served.url), bytearray(2**20)
    with socket.create_connection((address.hostname, address.port)) as connection:
        began = time.perf_counter()
        connection.sendall(f"GET /{BUCKET}/{KEY} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        left = size
        while left > 0:
            left -= connection.recv_into(buffer)
        return size / (time.perf_counter() - began) / 1e9
