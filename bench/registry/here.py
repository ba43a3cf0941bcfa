"""A store on this machine's own disk: pushing, laying out to be served, what a second version adds."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from bench.registry.scene import ROUNDS, Report
from bench.registry.weights import trained, with_another, write
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.storage import Folder
from modelyard.registry.importing import Trust, scanned

_CHANGED = 50


def here(report: Report, home: Path, first: Path) -> None:
    """``first``: a folder with a model of 1 GB."""
    storage = Folder(home / "store")
    began = time.perf_counter()
    pushed = scanned(first, Trust()).push(storage)
    took = time.perf_counter() - began
    report("push of 1 GB, scanned, hashed, stored", f"{pushed.size / took / 1e9:.2f} GB/s", "none", True)
    _ready(report, home, storage, pushed.manifest)
    _second(report, home, storage, pushed.manifest)


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


def _second(report: Report, home: Path, storage: Folder, first: str) -> None:
    before = _on_disk(home / "store", home / "cache0")
    tensors = trained()
    write(home / "another", with_another(tensors, _CHANGED))
    pushed = scanned(home / "another", Trust()).push(storage, like=[first])
    Cache(home / "cache0", storage).lay_out(pushed.manifest, Layout.TENSORS)
    added, changed = _on_disk(home / "store", home / "cache0") - before, tensors[_CHANGED].size
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
