"""What callers ask of transfers: begin one, look at it, wait for it, cancel it.

Whatever can be refused is, before there is a transfer. Every method is one transaction; who carries transfers out is
:mod:`modelyard.registry.carrying`, in this process or in another one on the same database.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from modelyard.control.ports import Idempotency, Page
from modelyard.domain import registering
from modelyard.domain.access import Permission, Principal
from modelyard.domain.errors import InvalidRequest, NotFound, Problem, Unavailable, VersionConflict
from modelyard.domain.names import name_problem
from modelyard.domain.registry_rules import alias_problems, version_problems
from modelyard.domain.transfers import Order, Transfer, TransferKind, cancel
from modelyard.registry.catalog import By, Catalog, Clock
from modelyard.registry.ports import TransferQuery, TransferStore
from modelyard.threads import apart

# Another process may carry out what is waited for here: looked at so often (seconds).
POLL: Final = 0.5
_ATTEMPTS: Final = 20
_MAX_PATTERNS: Final = 100

# The source as it is kept and shown, or what is wrong with it (InvalidRequest).
Admit = Callable[[str], str]


class Transfers:
    """``namespace`` finds one; ``site`` is the home whose control process carries out what is begun here; ``admit``
    says which sources the server fetches for a caller, and blocks."""

    def __init__(
        self, store: TransferStore, catalog: Catalog, namespace: Callable[[str], Awaitable[object | None]],
        clock: Clock, *, site: str, admit: Admit,
    ) -> None:  # fmt: skip
        self._store, self._catalog, self._namespace, self._clock = store, catalog, namespace, clock
        self._site, self._admit = site, admit
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        # Set by whoever carries transfers out here: one was begun, or cancelled.
        self.on_change: Callable[[Transfer], None] | None = None

    async def begin_import(
        self, namespace: str, name: str, source: str, order: Order, by: By, idempotency: Idempotency | None = None
    ) -> Transfer:
        """Have the server fetch what is at ``source`` and publish it as a version of the model, which is registered
        when it is not there yet. With an ``idempotency`` key that came before, the transfer that it led to.

        Raises:
            InvalidRequest: with all that is wrong
            NotFound: there is no such namespace
            Refused: ``version_exists``, ``model_deleted``, ``alias_reserved``: it could not be published
            AlreadyExists: a transfer to this version is under way
        """
        admitted = await self._check(name, source, order)
        for _ in range(_ATTEMPTS):
            if idempotency is not None and (earlier := await self._store.recall(idempotency)) is not None:
                return earlier
            await self._check_free(namespace, name, order)
            now = self._clock()
            made = Transfer(
                id=f"tr-{secrets.token_hex(8)}", kind=TransferKind.IMPORT, namespace=namespace, model=name,
                source=admitted, order=order, version=order.version, site=self._site, actor=by.actor, reason=by.reason,
                created_at=now, updated_at=now,
            )  # fmt: skip
            try:
                await self._store.add(made, idempotency)
            except VersionConflict:
                continue
            self.tell(made)
            return made
        raise Unavailable("Another request with this Idempotency-Key comes again and again. Nothing was done.")

    async def get(self, transfer_id: str, viewer: Principal | None = None) -> Transfer:
        """Raises NotFound: there is none, or not for the ``viewer`` (None: all are)."""
        found = await self._store.get(transfer_id)
        if found is None or (viewer is not None and not viewer.may(Permission.READ, found.namespace, found.model)):
            raise NotFound(f"There is no transfer {transfer_id!r}.")
        return found

    async def list(self, query: TransferQuery) -> Page[Transfer]:
        return await self._store.list(query)

    async def cancel(self, transfer_id: str, actor: str, by: Principal | None = None) -> Transfer:
        """It is cancelled when this returns: what is under way for it ends, and nothing is published. Raises NotFound,
        Forbidden, Refused."""
        for _ in range(_ATTEMPTS):
            before = await self.get(transfer_id, by)
            if by is not None:
                by.demand(Permission.EDIT, before.namespace, before.model)
            after = cancel(before, actor, self._clock())
            if after is before:
                return before
            try:
                await self._store.write(before, after)
            except VersionConflict:
                continue
            self.tell(after)
            return after
        raise Unavailable("The transfer changes too fast just now. Try again.")

    async def wait(self, transfer_id: str, timeout: float, viewer: Principal | None = None) -> Transfer:
        """The transfer once it is over, or as it stands after ``timeout`` seconds. Raises NotFound."""
        deadline = asyncio.get_running_loop().time() + timeout
        with self._listen(transfer_id) as news:
            while True:
                news.clear()
                transfer = await self.get(transfer_id, viewer)
                left = deadline - asyncio.get_running_loop().time()
                if transfer.is_over or left <= 0:
                    return transfer
                try:
                    async with asyncio.timeout(min(left, POLL) if self._store.shared else left):
                        await news.wait()
                except TimeoutError:
                    continue

    def tell(self, changed: Transfer) -> None:
        """A transfer was written: have those who wait for it, and who carries it out here, look."""
        for listener in self._waiting.get(changed.id, ()):
            listener.set()
        if self.on_change is not None:
            self.on_change(changed)

    @contextmanager
    def _listen(self, transfer_id: str) -> Iterator[asyncio.Event]:
        listener = asyncio.Event()
        self._waiting[transfer_id].add(listener)
        try:
            yield listener
        finally:
            self._waiting[transfer_id].discard(listener)
            if not self._waiting[transfer_id]:
                del self._waiting[transfer_id]

    async def _check(self, name: str, source: str, order: Order) -> str:
        """All that is wrong with the request by itself; the source as it is admitted."""
        admitted, problems = "", []
        if wrong := name_problem("name", name):
            problems.append(wrong)
        if (order.version is None) == (order.bump is None):
            message = "Give either the version's number or, with bump, which part of the latest one is raised."
            problems.append(Problem("version", "required", message))
        if order.version is not None:
            problems += version_problems(order.version)
        for number, alias in enumerate(order.aliases):
            problems += [Problem(f"aliases[{number}]", p.code, p.message) for p in alias_problems(alias)]
        for field in ("include", "exclude"):
            problems += _pattern_problems(field, getattr(order, field))
        try:
            admitted = await apart(lambda: self._admit(source), "admit a source")
        except InvalidRequest as error:
            problems += error.problems
        if problems:
            raise InvalidRequest(problems)
        for alias in order.aliases:
            registering.refuse_reserved(alias)
        return admitted

    async def _check_free(self, namespace: str, name: str, order: Order) -> None:
        """Whether it could be published as things are."""
        try:
            await self._catalog.expect_free(namespace, name, order.version)
        except NotFound:
            # The model may be missing, not its namespace.
            if await self._namespace(namespace) is None:
                raise


def _pattern_problems(field: str, patterns: Sequence[str]) -> list[Problem]:
    if len(patterns) > _MAX_PATTERNS:
        return [Problem(field, "out_of_range", f"There are at most {_MAX_PATTERNS} patterns.")]
    wrong = [n for n, pattern in enumerate(patterns) if not pattern or len(pattern) > 1024 or not pattern.isprintable()]
    message = "This is no pattern of paths: write for example *.safetensors or onnx/*."
    return [Problem(f"{field}[{n}]", "invalid_value", message) for n in wrong]
