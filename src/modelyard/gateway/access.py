"""Who may come in: the administrator's bearer token, read again when its file changes, API keys and tokens of the
identity provider, as the control process said last; and how often.
"""

from __future__ import annotations

import hmac
import logging
import math
import time
from collections.abc import Hashable
from datetime import datetime
from pathlib import Path
from typing import Final

from modelyard.access.callers import Callers, Known, Snapshot, Verdict, parse_snapshot
from modelyard.access.errors import NotAccepted
from modelyard.access.issuing import IssuerUnavailable
from modelyard.access.limits import RateLimited, RateLimits
from modelyard.domain.access import EVERYWHERE, Permission, administrator, need_of
from modelyard.domain.rates import Rate
from modelyard.gateway.problems import Refusal, model_not_found, retry_after, unauthenticated
from modelyard.gateway.routes import Route

log = logging.getLogger(__name__)

# How long a replaced or removed token may go on being accepted.
_STALE_AFTER = 1.0
_ADMIN: Final = Known(administrator("admin"), math.inf)


class Uses:
    """When each key was last used, until the control process asks."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def note(self, key_id: str, at: datetime) -> None:
        self._last[key_id] = at.timestamp()

    def take(self) -> dict[str, float]:
        """Seconds since 1970 by the key's id; each use is told once."""
        last, self._last = self._last, {}
        return last


class Access:
    """Checks bearer tokens. ``token`` (from the settings) wins over the file. ``callers`` knows everybody else."""

    def __init__(self, token_file: Path, token: str = "", callers: Callers | None = None) -> None:
        self._file = token_file
        self._fixed = bool(token)
        self._token = token.encode()
        self._seen: tuple[int, int, int] | None = None
        self._check_at = 0.0
        self._callers = callers or Callers()
        self._limits = RateLimits()
        self._refresh()

    @property
    def has_token(self) -> bool:
        """Whether there is a token that could be presented at all."""
        return bool(self._token)

    # ---------------------------------------------------------------- who it is

    def known(self, authorization: bytes | None) -> Known | None:
        """Whom an ``Authorization`` header's value names, as far as that can be told at once."""
        if authorization is None:
            return None
        if self._is_admin(authorization):
            return _ADMIN
        found = self._callers.known(authorization)
        if found is None and authorization[:7].lower() == b"bearer ":
            # A token made a moment ago must work at once.
            self._refresh()
            if self._matches(authorization[7:].strip()):
                return _ADMIN
        return found

    def allows(self, authorization: bytes | None) -> bool:
        """Whether it names somebody, as far as that can be told at once."""
        return self.known(authorization) is not None

    async def identify(self, authorization: bytes | None) -> Known:
        """Whom it names, and if the identity provider has to be asked.

        Raises:
            Refusal: nobody, or that cannot be told now.
        """
        found = self.known(authorization)
        if found is not None:
            return found
        if authorization is None:
            raise unauthenticated()
        try:
            return await self._callers.identify(authorization)
        except NotAccepted as error:
            raise unauthenticated(error.message) from None
        except IssuerUnavailable as error:
            raise Refusal(503, error.code, error.message, headers=[retry_after(5)], retry_after=5) from None

    def may_be_known(self, authorization: bytes) -> bool:
        """Whether :meth:`identify` may know it where :meth:`known` does not."""
        return self._callers.takes_tokens and self._callers.is_ours(authorization)

    def is_ours(self, authorization: bytes) -> bool:
        """Whether it is meant for this door, and so for nobody behind it."""
        return self._callers.is_ours(authorization) or self.known(authorization) is _ADMIN

    def _is_admin(self, authorization: bytes) -> bool:
        if authorization[:7].lower() != b"bearer ":
            return False
        if time.monotonic() >= self._check_at:
            self._refresh()
        return self._matches(authorization[7:].strip())

    def _matches(self, presented: bytes) -> bool:
        return bool(self._token) and hmac.compare_digest(presented, self._token)

    def _refresh(self) -> None:
        self._check_at = time.monotonic() + _STALE_AFTER
        if self._fixed:
            return
        try:
            status = self._file.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._token = self._file.read_bytes().strip()
                self._seen = seen
        except OSError:
            self._token, self._seen = b"", None

    # ---------------------------------------------------------------- what the control process says

    def replace(self, snapshot: Snapshot) -> None:
        """From here on these keys and members hold."""
        self._callers.replace(snapshot)

    def load(self, file: Path) -> None:
        """As :meth:`replace`, by what the control process left in ``file``; without it nobody but the administrator
        and whom the settings name is known."""
        try:
            self.replace(parse_snapshot(file.read_bytes()))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.warning("%s is left out: %s", file, error)

    # ---------------------------------------------------------------- what they may

    def reads(self, authorization: bytes | None, route: Route) -> bool:
        """Whether the bearer sees the model, and so why it does not serve."""
        found = self.known(authorization)
        return found is not None and _verdict(found, Permission.READ, route) is not Verdict.HIDDEN

    def may_infer(self, authorization: bytes | None, route: Route) -> bool:
        """Whether a request to the model may go on at once: its bearer is known, may, and has not asked too often. It
        is counted only then."""
        found = None
        if not route.public:
            found = self.known(authorization)
            if found is None or _verdict(found, Permission.INFER, route) is not Verdict.ALLOWED:
                return False
        elif authorization is not None:
            found = self._callers.known(authorization)
        return self._take(found, route) is None

    def demand(self, found: Known, permission: Permission, route: Route) -> None:
        """Raises:
        Refusal: 404 for a model that is not there for the caller, 403 for what it may not do with it.
        """
        verdict = _verdict(found, permission, route)
        if verdict is Verdict.HIDDEN:
            raise model_not_found(route.namespace, route.name)
        if verdict is Verdict.FORBIDDEN:
            raise Refusal(
                403,
                "forbidden",
                f"{found.caller.name} may not do this with model {route.name!r}: it needs {need_of(permission)}.",
            )

    def demand_metrics(self, found: Known) -> None:
        """Raises:
        Refusal: the caller may not read in all namespaces, of which the metrics are.
        """
        if not found.caller.may(Permission.READ, EVERYWHERE):
            raise Refusal(
                403,
                "forbidden",
                f"{found.caller.name} may not read the metrics of the whole installation: it needs the role viewer or "
                "a higher one in all namespaces.",
            )

    def count(self, found: Known | None, route: Route) -> None:
        """Count a request to the model against the rates of both.

        Raises:
            Refusal: it is one too many; then it is not counted.
        """
        limited = self._take(found, route)
        if limited is not None:
            raise Refusal(
                429, limited.code, limited.message, headers=[retry_after(limited.retry_after)],
                retry_after=limited.retry_after,
            )  # fmt: skip

    def _take(self, found: Known | None, route: Route) -> RateLimited | None:
        if route.rate is None and (found is None or found.rate is None):
            return None
        asked: list[tuple[Hashable, Rate]] = []
        names = []
        if found is not None and found.key is not None and found.rate is not None:
            asked.append((("key", found.key.id), found.rate))
            names.append(f"With {found.caller.name} models")
        if route.rate is not None:
            asked.append((("model", route.uid), route.rate))
            names.append(f"Model {route.name!r}")
        refused = self._limits.take(*asked)
        return None if refused is None else RateLimited(names[refused[0]], asked[refused[0]][1], refused[1])


def _verdict(found: Known, permission: Permission, route: Route) -> Verdict:
    return found.verdict(permission, route.namespace, route.name, route.groups)
