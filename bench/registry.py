"""The registry's bytes: pushing, laying out, pulling, sharing, against copying by hand."""

from __future__ import annotations

import hashlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from modelyard.registry.content.cache import Cache
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.storage import Folder
from modelyard.registry.importing import Trust, opened

Report = Callable[[str, str, str, bool], None]

TENSORS, ROWS, COLUMNS, ROUNDS = 96, 1024, 2560, 5


def registry(report: Report) -> None:
    """A safetensors file of 1 GB; everything on one disk, in memory where the system keeps it."""
    home = Path(tempfile.mkdtemp(prefix="my-bench-"))
    try:
        storage = Folder(home / "store")
        first = _version(home / "v1", changed=None)
        began = time.perf_counter()
        digest, size = _push(first, storage, [])
        took = time.perf_counter() - began
        report("push of 1 GB, scanned, hashed, stored", f"{size / took / 1e9:.2f} GB/s", "none", True)
        _ready(report, home, storage, digest)
        _pulls(report, home, storage, digest, first)
        _second(report, home, storage, digest)
    finally:
        shutil.rmtree(home)


def _version(folder: Path, changed: int | None) -> Path:
    """``changed``: the tensor that is another one than in the first version."""
    folder.mkdir()
    tensors = {
        f"layers.{i}.weight": np.random.default_rng(1000 + i if i == changed else i).standard_normal(
            (ROWS, COLUMNS), dtype=np.float32
        )
        for i in range(TENSORS)
    }
    save_file(tensors, folder / "model.safetensors")
    return folder


def _push(folder: Path, storage: Folder, like: list[str]) -> tuple[str, int]:
    with opened(folder, Trust()) as source:
        pushed = source.push(storage, like=like)
    return pushed.manifest, pushed.size


def _ready(report: Report, home: Path, storage: Folder, digest: str) -> None:
    """From nothing laid out to a folder that can be served, the store's objects checked when they were written."""
    took = []
    for number in range(ROUNDS):
        cache = Cache(home / f"cache{number}", storage)
        began = time.perf_counter()
        cache.lay_out(digest, Layout.TENSORS)
        took.append((time.perf_counter() - began) * 1e3)
    p50 = statistics.median(took)
    report(f"1 GB ready to serve from a warm store ({ROUNDS} times)", f"p50 {p50:.0f} ms", "<= 50 ms", p50 <= 50)


def _pulls(report: Report, home: Path, storage: Folder, digest: str, source: Path) -> None:
    """Interleaved: our verified pull, and a copy with a SHA-256 after it."""
    ours, theirs = [], []
    for number in range(ROUNDS):
        began = time.perf_counter()
        pull(storage, digest, home / f"pulled{number}")
        ours.append(time.perf_counter() - began)
        shutil.rmtree(home / f"pulled{number}")
        copy = home / f"copied{number}"
        began = time.perf_counter()
        shutil.copyfile(source / "model.safetensors", copy)
        with copy.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        theirs.append(time.perf_counter() - began)
        copy.unlink()
    size = (source / "model.safetensors").stat().st_size
    mine, his = statistics.median(ours), statistics.median(theirs)
    report(f"verified pull of 1 GB into a folder ({ROUNDS} pairs)",
           f"{size / mine / 1e9:.2f} GB/s, cp and sha256 {size / his / 1e9:.2f}: {his / mine:.2f} x", "none",
           True)  # fmt: skip


def _second(report: Report, home: Path, storage: Folder, first: str) -> None:
    before = _on_disk(home / "store", home / "cache0")
    digest, _ = _push(_version(home / "v2", changed=50), storage, [first])
    Cache(home / "cache0", storage).lay_out(digest, Layout.TENSORS)
    added, changed = _on_disk(home / "store", home / "cache0") - before, ROWS * COLUMNS * 4
    report("a second version of it, one tensor of 96 another, laid out too",
           f"{added / 1e6:.2f} MB added for {changed / 1e6:.2f} MB changed", "<= 1.01 x",
           added <= 1.01 * changed)  # fmt: skip


def _on_disk(*folders: Path) -> int:
    """Bytes of all files, each once however many names it has."""
    sizes = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                sizes[path.stat().st_ino] = path.stat().st_size
    return sum(sizes.values())
