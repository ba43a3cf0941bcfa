"""Every request that may change something goes on record: what it was, whose, why, from where, and what came of it.

A write of the store carries the entry (see :mod:`modelyard.control.attempts`); a request that has written none is
recorded here, before its answer is sent. Requests that read are not recorded, except exports of the record itself, nor
are dry runs, nor what was carried out before under the same Idempotency-Key, nor the bytes of files on their way to the
registry: they mean nothing until a version is published.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.api.actions import DRY_IN_BODY, DRY_IN_QUERY, HARMLESS, UPLOADS, action_of
from modelyard.control import attempts
from modelyard.control.attempts import Attempt, Refusal
from modelyard.domain.access import Principal, PrincipalKind
from modelyard.domain.audit import ActorKind, Origin, Outcome, Record
from modelyard.domain.errors import ModelyardError
from modelyard.domain.masking import masked, scrubbed
from modelyard.domain.recording import kind_of, thing_of

log = logging.getLogger(__name__)

_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# What is read and goes on record nevertheless; signing in by an identity provider ends with a GET.
_READ: Final = frozenset({"/api/v1/audit/export", "/api/v1/session/oidc/callback"})
# What these are sent is secret: of them is recorded only what their routes say.
_DISCREET: Final = "/api/v1/session"
_KINDS: Final[Mapping[PrincipalKind, ActorKind]] = {
    PrincipalKind.ADMINISTRATOR: ActorKind.ADMINISTRATOR,
    PrincipalKind.KEY: ActorKind.KEY,
    PrincipalKind.PERSON: ActorKind.PERSON,
}
# Bytes of a body that are looked at for what it asks for.
_BODY: Final = 65_536
_TRUE: Final = frozenset({"1", "true", "t", "on", "yes", "y"})
# Entries that one transaction holds, so that the event loop gets on.
_TOGETHER: Final = 100
# Callers who have not shown who they are could fill the record up: so many of them a minute are recorded.
_STRANGERS: Final = 60


class Audited:
    """Has requests recorded that may change something."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._strangers = _Strangers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (scope["method"] in _CHANGING or scope["path"] in _READ):
            await self._app(scope, receive, send)
            return
        asked = _Asked(scope)
        attempt = Attempt(asked.record)
        token = attempts.begin(attempt)
        answered = False

        async def receive_seen() -> Message:
            message = await receive()
            asked.see(message.get("body", b""))
            return message

        async def send_recorded(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start" and not answered:
                answered = True
                await self._record(asked, attempt, message["status"], str(scope.get("problem", "")))
            await send(message)

        try:
            await self._app(scope, receive_seen, send_recorded)
        except Exception:
            if not answered:
                await self._record(asked, attempt, 500, "internal_error")
            raise
        finally:
            attempts.end(attempt, token)

    async def _record(self, asked: _Asked, attempt: Attempt, status: int, code: str) -> None:
        """Put on record what has not been yet; what was written before it failed has an entry already."""
        done = status < 400
        if asked.action == "" or (done and (attempt.repeats or asked.changes_nothing)):
            return
        record = asked.record() or asked.record_of("", ActorKind.UNKNOWN)
        if record.actor_kind is ActorKind.UNKNOWN:
            left_out = self._strangers.admit()
            if left_out is None:
                return
            change = record.change if left_out or asked.is_discreet else {}
            record = replace(record, change={**change, "left_out_before": left_out} if left_out else change)
        records = [_refused(record, refusal) for refusal in attempt.refusals]
        if not done or not (attempt.targets or records):
            outcome = Outcome.DONE if done else Outcome.REFUSED if status < 500 else Outcome.FAILED
            records.append(replace(record, outcome=outcome, code=code))
        try:
            for start in range(0, len(records), _TOGETHER):
                await asked.services.audit.record(*records[start : start + _TOGETHER])
        except ModelyardError as error:
            log.error("What came of a request (%s, %s) is not on record: %s", record.action, status, error)


def _refused(record: Record, refusal: Refusal) -> Record:
    error = refusal.error
    return replace(
        record, namespace=scrubbed(refusal.namespace), kind=refusal.kind, name=scrubbed(refusal.name), code=error.code,
        outcome=Outcome.REFUSED if error.http_status < 500 else Outcome.FAILED,
        change={"message": scrubbed(error.message)},
    )  # fmt: skip


class _Asked:
    """What a request asks for, as far as it has come."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._headers = {name: value for name, value in scope["headers"] if name in _HEADERS}
        self.is_discreet = scope["path"].startswith(_DISCREET)
        self._is_json = not self.is_discreet and b"json" in self._headers.get(b"content-type", b"")
        self._body = bytearray()
        self._said: tuple[str, str, dict[str, Any]] | None = None
        self.services = scope["app"].state.services

    def see(self, piece: bytes) -> None:
        if self._is_json and len(self._body) <= _BODY:
            self._body += piece

    @property
    def action(self) -> str:
        """Its name on record; empty: there is nothing at this path."""
        route = self._scope.get("route")
        return "" if route is None else action_of(route)

    @property
    def changes_nothing(self) -> bool:
        """Of one that was done: whether it was not to change anything."""
        if self._scope.get("state", {}).get("harmless"):
            return True
        action = self.action
        flags = self._query() if action in DRY_IN_QUERY else self._sent() if action in DRY_IN_BODY else {}
        return action in HARMLESS | UPLOADS or str(flags.get("dry_run", "")).lower() in _TRUE

    def record(self) -> Record | None:
        principal = self._scope.get("state", {}).get("principal")
        if not isinstance(principal, Principal):
            return None
        return self.record_of(principal.name, _KINDS.get(principal.kind) or kind_of(principal.name))

    def record_of(self, actor: str, kind: ActorKind) -> Record:
        name, reason, asked = self._read()
        path = self._scope.get("path_params", {})
        namespace = path.get("namespace", self._scope.get("state", {}).get("namespace", ""))
        return Record(
            at=self.services.clock(), actor=scrubbed(actor), actor_kind=kind, action=self.action,
            namespace=scrubbed(str(namespace)), kind=thing_of(self.action),
            name=name, reason=reason, change={"asked": asked} if asked else {},
            origin=Origin(
                address=self._header(b"x-forwarded-for"), client=self._header(b"user-agent"),
                request=scrubbed(str(self._scope.get("request_id", ""))),
            ),
        )  # fmt: skip

    def _read(self) -> tuple[str, str, dict[str, Any]]:
        """The target's name, the reason and all else that is asked for."""
        if self._said is not None:
            return self._said
        asked = self._told() if self.is_discreet else self._sent() | self._query()
        reason = asked.pop("reason", "")
        named = [str(value) for key, value in self._scope.get("path_params", {}).items() if key != "namespace"]
        if not named and isinstance(asked.get("name"), str):
            named = [asked["name"]]
        self._said = scrubbed("/".join(named)), scrubbed(reason) if isinstance(reason, str) else "", masked(asked)
        return self._said

    def _told(self) -> dict[str, Any]:
        return dict(self._scope.get("state", {}).get("told", {}))

    def _sent(self) -> dict[str, Any]:
        """The body, if it is an object and not too large to be looked at."""
        try:
            body = orjson.loads(self._body) if 0 < len(self._body) <= _BODY else {}
        except ValueError:
            body = {}
        return body if isinstance(body, dict) else {}

    def _query(self) -> dict[str, Any]:
        return dict(parse_qsl(self._scope["query_string"].decode("latin-1")))

    def _header(self, name: bytes) -> str:
        return scrubbed(self._headers.get(name, b"").decode("latin-1"))


_HEADERS: Final = frozenset({b"content-type", b"user-agent", b"x-forwarded-for"})


class _Strangers:
    """How many entries those have had in this minute who have not shown who they are."""

    def __init__(self) -> None:
        self._minute = 0
        self._admitted = 0
        self._left_out = 0

    def admit(self) -> int | None:
        """None: no entry for this one; else how many before it have had none."""
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._admitted = minute, 0
        if self._admitted >= _STRANGERS:
            self._left_out += 1
            return None
        self._admitted += 1
        left_out, self._left_out = self._left_out, 0
        return left_out
