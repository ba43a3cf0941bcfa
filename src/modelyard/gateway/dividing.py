"""Which arm of a model's traffic a request goes to, and what is counted of it.

A split is by weighted rendezvous hashing (Mosharaf Chowdhury's and others' form of Thaler and Ravishankar 1998): of all
arms the one with the smallest ``-ln(hash(salt, arm, key)) / weight``. The same key always finds the same arm, in every
gateway and after every restart; a weight that changes moves few keys besides those that must move, and between two
arms none at all. The share of a canary is a threshold on one hash of the key, so that who has come to the new revision
stays there while the share grows. Without a key each request is drawn by itself.
"""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import blake2b
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from modelyard.gateway.arms import MODEL, REVISION, Arm
from modelyard.gateway.exchange import CLIENT_GONE, ClientGone
from modelyard.gateway.problems import Header, Refusal
from modelyard.gateway.routes import Traffic
from modelyard.gateway.served import RouteTable, ServedModel
from modelyard.gateway.shadows import Shadows
from modelyard.runtime.frames import Buffer

MODEL_HEADER: Final = b"x-modelyard-model"
REVISION_HEADER: Final = b"x-modelyard-revision"
# Refusals that an arm's instances are the cause of; before all others nothing was asked of any.
_OF_THE_ARM: Final = ("request_timeout", "instance_unreachable", "instance_lost")
_COOKIE_AGE: Final = 400 * 86_400  # seconds; the longest that browsers keep one

Infer = Callable[[ServedModel, int | None], Awaitable[None]]


class Asking(Protocol):
    """A request, as far as it matters here (see :class:`modelyard.gateway.exchange.Exchange`). ``headers`` by
    lower-case name; ``status`` is 0 until there is an answer."""

    headers: dict[bytes, bytes]
    began: float
    status: int
    fields: tuple[Header, ...]
    asked: tuple[dict[str, Any], Buffer] | None


class Share(NamedTuple):
    """Where a request goes: to ``model``, there to instances of ``generation`` (None: whichever); it counts for
    ``arms``, and ``fields`` go out with the answer."""

    model: ServedModel
    generation: int | None
    arms: tuple[Arm, ...]
    fields: tuple[Header, ...]


class Dividing:
    """Sends the requests of models with several arms on their ways."""

    def __init__(self, routes: RouteTable) -> None:
        self._routes = routes
        self._shadows = Shadows(routes)

    async def answer(self, request: Asking, front: ServedModel, infer: Infer) -> None:
        """Have the arm that is chosen answer. Raises what ``infer`` does."""
        share = self._share(front, request.headers)
        request.fields = (*request.fields, *share.fields)
        try:
            await infer(share.model, share.generation)
        except Refusal as refusal:
            of_arm = refusal.code in _OF_THE_ARM
            if of_arm or request.status:
                # A revision whose instance was lost has had that counted when it was (see ServedModel.release).
                lost = refusal.code == "instance_lost"
                self._count(share, request, refusal.status if of_arm else request.status, lost=lost)
            raise
        except ClientGone:
            for arm in share.arms:
                arm.count(CLIENT_GONE, None, error=False)
            raise
        else:
            self._count(share, request, request.status)
        finally:
            front.meter.changed()
            share.model.meter.changed()
            self._shadows.copy(front, request.asked)

    @staticmethod
    def _count(share: Share, request: Asking, status: int, *, lost: bool = False) -> None:
        seconds = None if status == 503 else monotonic() - request.began
        for arm in share.arms:
            arm.count(status, seconds, error=status >= 500 and not (lost and arm.kind == REVISION))

    def _share(self, front: ServedModel, headers: Mapping[bytes, bytes]) -> Share:
        traffic, model = front.route.traffic, front
        key, fields, arms = None, list[Header](), list[Arm]()
        if traffic is not None:
            key, cookie = _key(traffic, headers)
            fields += cookie
        if traffic is not None and traffic.split:
            model, arm = self._arm(front, traffic, key)
            arms.append(arm)
            fields.append((MODEL_HEADER, model.route.name.encode()))
        elif traffic is not None and traffic.shadow:
            arms.append(front.arms[MODEL, front.route.name])
        generation = None
        if model.route.canary is not None:
            generation = _revision(model, key)
            arms.append(model.arms[REVISION, str(generation)])
            fields.append((REVISION_HEADER, b"%d" % generation))
        return Share(model, generation, tuple(arms), tuple(fields))

    def _arm(self, front: ServedModel, traffic: Traffic, key: bytes | None) -> tuple[ServedModel, Arm]:
        """The model of the split that is chosen; one that does not serve leaves its share to the front one."""
        route = front.route
        weights = [(route.name, 100.0 - sum(traffic.split.values())), *traffic.split.items()]
        name = chosen(route.uid, weights, key)
        if name != route.name:
            arm, model = front.arms[MODEL, name], self._routes.find(route.namespace, name)
            if model is not None and model.serves:
                return model, arm
            arm.miss("absent")
        return front, front.arms[MODEL, route.name]


def _revision(model: ServedModel, key: bytes | None) -> int:
    canary = model.route.canary
    assert canary is not None
    salt = f"{model.route.uid}.{canary.after}"
    place = random.random() if key is None else _hash(salt, "", key)
    wanted = canary.after if place * 100 < canary.percent else canary.before
    serving = {e.instance.generation for e in (*model.workers, *model.servers)}
    other = canary.before if wanted == canary.after else canary.after
    return other if wanted not in serving and other in serving else wanted


def chosen(salt: str, weights: Iterable[tuple[str, float]], key: bytes | None) -> str:
    """One of the names of ``weights``, of which one at least is above 0: always the same for a ``key``."""
    best, least = "", math.inf
    for name, weight in weights:
        if weight > 0:
            place = random.random() if key is None else _hash(salt, name, key)
            # Random places make it a draw by weights, too: the least of exponential times.
            score = -math.log(max(place, 1e-300)) / weight
            if score < least:
                best, least = name, score
    return best


def _hash(salt: str, name: str, key: bytes) -> float:
    """From 0 to 1, the same everywhere."""
    digest = blake2b(key, digest_size=8, key=blake2b(f"{salt}\0{name}".encode(), digest_size=32).digest()).digest()
    return (int.from_bytes(digest) + 0.5) / 2**64


def _key(traffic: Traffic, headers: Mapping[bytes, bytes]) -> tuple[bytes | None, list[Header]]:
    """What tells this caller from others, if anything; and the cookie that it is given to be told by."""
    if traffic.by == "header":
        return headers.get(traffic.name.lower().encode()) or None, []
    if traffic.by != "cookie":
        return None, []
    name = traffic.name.encode()
    for pair in headers.get(b"cookie", b"").split(b";"):
        found, _, value = pair.strip().partition(b"=")
        if found == name and value:
            return value, []
    if not traffic.set_cookie:
        return None, []
    value = secrets.token_hex(16).encode()
    field = b"%s=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax" % (name, value, _COOKIE_AGE)
    return value, [(b"set-cookie", field)]
