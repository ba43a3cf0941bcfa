"""The requests on transfers as values, and what both clients know about waiting for one: no I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from modelyard.client import types
from modelyard.client.calls import API, READ, WAIT, Call, get, post, seconds
from modelyard.client.errors import TimedOut, TransferFailed
from modelyard.client.transfer_types import Transfer

# Whoever shows how far it is looks this often (seconds); the server writes it about once a second.
_LOOK = 0.5
_transfer = partial(types.parse, Transfer)


def _path(transfer_id: str, *rest: str) -> str:
    return "/".join([f"{API}/registry/transfers", quote(transfer_id, safe=""), *rest])


def begin_import(
    namespace: str, name: str, source: str, what: Mapping[str, Any], metadata: Mapping[str, Any], reason: str
) -> Call[Transfer]:
    path = f"{API}/namespaces/{quote(namespace, safe='')}/registry/models/{quote(name, safe='')}/imports"
    return post(path, _transfer, {"source": source, **what, **metadata, "reason": reason})


def get_transfer(transfer_id: str) -> Call[Transfer]:
    return get(_path(transfer_id), _transfer)


def list_transfers(
    namespace: str | None, model: str | None, done: bool | None, page_size: int | None
) -> Call[types.Page[Transfer]]:
    parse = partial(types.parse_page, Transfer)
    return get(
        f"{API}/registry/transfers", parse, READ, namespace=namespace, model=model, done=done, page_size=page_size
    )


def wait_transfer(transfer_id: str, patience: float) -> Call[Transfer]:
    return get(_path(transfer_id, "wait"), _transfer, patience + 10, timeout=seconds(patience))


def cancel_transfer(transfer_id: str) -> Call[Transfer]:
    # One that is cancelled already stays so.
    return replace(post(_path(transfer_id, "cancel"), _transfer, {}, keyed=False), repeatable=True)


class TransferWait:
    """Waiting for one transfer: which call is next, what its answer means."""

    def __init__(
        self, transfer: Transfer | str, timeout: float | None, on_change: Callable[[Transfer], None] | None
    ) -> None:
        self._id = transfer if isinstance(transfer, str) else transfer.id
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        self._on_change = on_change
        self._transfer: Transfer | None = None
        if isinstance(transfer, Transfer):
            self.seen(transfer)

    @property
    def done(self) -> bool:
        return self._transfer is not None and self._transfer.done

    def call(self) -> Call[Transfer]:
        patience = WAIT if self._on_change is None else _LOOK
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0 and self._transfer is not None:
                raise TimedOut(
                    f"The {self._transfer.kind} to {self._transfer.model} is not done after {self._timeout:g} s. It "
                    f"goes on: `modelyard transfers watch {self._id}` shows how far it is."
                )
            patience = max(0.0, min(patience, left))
        return wait_transfer(self._id, patience)

    def seen(self, transfer: Transfer) -> None:
        before, self._transfer = self._transfer, transfer
        if self._on_change is not None and (before is None or before.raw != transfer.raw):
            self._on_change(transfer)

    def result(self) -> Transfer:
        assert self._transfer is not None
        if self._transfer.state != "succeeded":
            raise TransferFailed(self._transfer)
        return self._transfer
