"""The registry's bytes at work, as the peers are (``python -m bench.ours``)."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from bench.lines import serve, synced
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.locations import store_at
from modelyard.registry.content.pulling import pull as pull_to
from modelyard.registry.content.storage import Store
from modelyard.registry.importing import Trust, scanned

_RANGE, _READERS = 2 * 2**20, 16


@cache
def _store(url: str) -> Store:
    return store_at(url)


def ready() -> None:
    """Whoever answers is up."""


def push(url: str, folder: str, like: list[str]) -> dict[str, Any]:
    done = scanned(Path(folder), Trust()).push(_store(url), like=like)
    return {"digest": done.manifest, "size": done.size, "written": done.written}


def pull(url: str, digest: str, to: str, near: dict[str, list[str]] | None = None) -> dict[str, Any]:
    done = pull_to(_store(url), digest, Path(to), near={Path(folder): of for folder, of in (near or {}).items()})
    return {"fetched": done.fetched}


def lay_out(url: str, digest: str, cache: str) -> dict[str, Any]:
    done = Cache(Path(cache), _store(url)).lay_out(digest, Layout.EXACT)
    return {"path": str(done.path), "fetched": done.fetched}


def obstore(bucket: str, key: str, to: str) -> dict[str, Any]:
    """The library below us, by ranges into a file, nothing checked."""
    from obstore.store import S3Store

    store = S3Store(bucket)
    size = store.head(key)["size"]
    with Path(to).open("wb") as file, ThreadPoolExecutor(_READERS) as pool:

        def fetch(start: int) -> None:
            os.pwrite(file.fileno(), store.get_range(key, start=start, end=min(size, start + _RANGE)), start)

        list(pool.map(fetch, range(0, size, _RANGE)))
    return {}


def sync(paths: list[str]) -> float:
    return synced(paths)


if __name__ == "__main__":
    serve({each.__name__: each for each in (ready, push, pull, lay_out, obstore, sync)})
