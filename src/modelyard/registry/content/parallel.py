"""Work that many threads share: requests to a store, where each takes long and many together no longer, and others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from modelyard.registry.content.storage import Storage

_T = TypeVar("_T")
_R = TypeVar("_R")


def each(storage: Storage, ask: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """The answers, in order. The first that fails is raised, and of the others those not begun are left."""
    if storage.at_once == 1:
        return [ask(item) for item in items]
    with ThreadPoolExecutor(storage.at_once, thread_name_prefix="store") as pool:
        try:
            return list(pool.map(ask, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def all_of(futures: Sequence[Future[_R]]) -> list[_R]:
    """What comes of them; after the first that fails no other is begun, and its error is raised."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    failed = next((future for future in done if not future.cancelled() and future.exception() is not None), None)
    if failed is not None:
        for future in futures:
            future.cancel()
        wait(futures)
        failed.result()
    return [future.result() for future in futures]
