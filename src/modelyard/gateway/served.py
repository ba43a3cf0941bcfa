"""The models that are served: their instances, what is in flight in each, what waits, and what drains.

Nothing here does any I/O except reading the route files at start.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from modelyard.domain.states import State
from modelyard.gateway.arms import REVISION, Arms
from modelyard.gateway.loads import Loads, Meter
from modelyard.gateway.metrics import ModelStats
from modelyard.gateway.problems import (
    BodyLimit,
    Refusal,
    instance_unreachable,
    not_proxied,
    queue_full,
    too_many_waiting,
    version_not_found,
)
from modelyard.gateway.routes import (
    CLOSED_STATES,
    DRAINING_STATES,
    Canary,
    Instance,
    InvalidRoute,
    NotServing,
    Route,
    parse_route,
)
from modelyard.gateway.upstream import WorkerLink

log = logging.getLogger(__name__)

# Seconds for which an instance that could not be reached is the last choice.
_SHUN: Final = 0.25


class Wanted(NamedTuple):
    """Which instances a request may go to: workers that speak frames, or servers that users brought; those
    of any generation, or of the one that ``version`` pins, and rather those of ``generation``."""

    server: bool
    version: str | None = None
    generation: int | None = None


class Endpoint:
    """One instance: where it is, its connection, and what is in flight in it. ``open`` while new
    requests may go to it."""

    __slots__ = ("id", "in_flight", "instance", "link", "open", "shunned_until")

    def __init__(self, id_: str, instance: Instance) -> None:
        self.id = id_
        self.instance = instance
        self.in_flight = 0
        self.open = True
        self.shunned_until = 0.0
        self.link = WorkerLink(instance.address.removeprefix("unix:"))

    @property
    def is_server(self) -> bool:
        return self.instance.address.startswith("http:")

    def shun(self) -> None:
        """It could not be reached: prefer others until the control process has looked."""
        self.shunned_until = time.monotonic() + _SHUN


Drained = Callable[[dict[str, int]], None]


class ServedModel:
    """One model's route with its instances, its queue, its counters and who waits for its drain."""

    __slots__ = (
        "_draining", "_held", "_turn", "arms", "body_limit", "cut", "divided", "endpoints", "finished", "meter",
        "queued", "refused", "route", "servers", "stats", "workers",
    )  # fmt: skip

    def __init__(self, route: Route, meter: Meter) -> None:
        self.route = route
        self.meter = meter
        self.stats = meter.stats = ModelStats()
        self.arms = meter.arms = Arms()
        meter.by_instance = self.by_instance
        # Those that serve, and closed ones with something in flight still.
        self.endpoints: dict[str, Endpoint] = {}
        # Those that serve, by what they speak.
        self.workers: list[Endpoint] = []
        self.servers: list[Endpoint] = []
        self.queued = 0
        self.finished = self.refused = self.cut = 0
        self._turn = 0
        self._draining: list[tuple[tuple[str, ...], Drained]] = []
        # Requests that wait for an instance, in the order in which they came; each is told whether to go on.
        self._held: dict[asyncio.Future[Refusal | None], None] = {}
        self.update(route)

    @property
    def labels(self) -> tuple[str, str]:
        return self.route.namespace, self.route.name

    @property
    def serves(self) -> bool:
        return bool(self.workers or self.servers)

    @property
    def versions(self) -> tuple[str, ...]:
        """The generations that serve, oldest first; more than one during a rollout."""
        return tuple(map(str, sorted({e.instance.generation for e in (*self.workers, *self.servers)})))

    @property
    def report(self) -> dict[str, int]:
        """What became of requests since the model began to drain."""
        return {"finished": self.finished, "refused": self.refused, "cut": self.cut}

    @property
    def waiting(self) -> int:
        """Requests that are held until an instance is there."""
        return len(self._held)

    def by_instance(self) -> Iterator[tuple[str, int]]:
        """Requests in flight by instance id."""
        for endpoint in self.endpoints.values():
            yield endpoint.id, endpoint.in_flight

    # ---------------------------------------------------------------- what the control process says

    def update(self, route: Route) -> None:
        """Serve as ``route`` says from here on."""
        before = self.route.state
        self.route = route
        self.body_limit = BodyLimit(route.max_body, "limits.max_body of the model")
        self.arms.agree(route)
        # Not all of its requests go the same way (see modelyard.gateway.dividing).
        traffic = route.traffic
        self.divided = route.canary is not None or (traffic is not None and bool(traffic.split or traffic.shadow))
        wanted = {} if route.state in CLOSED_STATES else route.instances
        for endpoint in list(self.endpoints.values()):
            endpoint.open = wanted.get(endpoint.id) == endpoint.instance
            self._drop_if_idle(endpoint)
        for id_, instance in wanted.items():
            known = self.endpoints.get(id_)
            if known is None or not known.open:
                self.endpoints[id_] = Endpoint(id_, instance)
        self._sort()
        begins_to_drain = route.state in DRAINING_STATES and before not in DRAINING_STATES
        if begins_to_drain or route.state not in CLOSED_STATES:
            self.finished = self.refused = self.cut = 0
        self._settle_held()
        self._tell_drained()

    def close(self) -> None:
        """Send nothing new anywhere: the model is no more."""
        self.route = msgspec.structs.replace(self.route, state=State.DELETING)
        for endpoint in list(self.endpoints.values()):
            endpoint.open = False
            self._drop_if_idle(endpoint)
        self._sort()
        self._settle_held()
        self._tell_drained()

    def _sort(self) -> None:
        serving = [e for e in self.endpoints.values() if e.open]
        self.workers = [e for e in serving if not e.is_server]
        self.servers = [e for e in serving if e.is_server]

    def in_flight(self, instances: Iterable[str]) -> dict[str, int]:
        """Requests in flight in those of ``instances`` that get nothing new."""
        found = {}
        for instance in instances:
            endpoint = self.endpoints.get(instance)
            if endpoint is None or not endpoint.open:
                found[instance] = endpoint.in_flight if endpoint else 0
        return found

    def when_drained(self, instances: tuple[str, ...], tell: Drained) -> None:
        """Call ``tell`` with the report once none of ``instances`` that are closed has anything in flight."""
        self._draining.append((instances, tell))
        self._tell_drained()

    def _tell_drained(self) -> None:
        if self._draining:
            draining, self._draining = self._draining, []
            for instances, tell in draining:
                if any(self.in_flight(instances).values()):
                    self._draining.append((instances, tell))
                else:
                    tell(self.report)

    # ---------------------------------------------------------------- requests that wait

    def holds(self, version: str | None) -> bool:
        """Whether a request for ``version`` may wait for an instance now: nothing serves, but something will."""
        route = self.route
        return route.wakes and not self.serves and version in (None, str(route.generation))

    def hold(self) -> asyncio.Future[Refusal | None]:
        """Have a request wait until an instance serves (None) or none will (why not). :meth:`let_go` ends it.

        Raises:
            Refusal: as many wait as may.
        """
        hold = self.route.hold
        assert hold is not None
        if len(self._held) >= hold.max_waiting:
            raise too_many_waiting(self.route.name, hold.max_waiting)
        if not self._held and self.route.state is State.IDLE:
            self.stats.wakes += 1
        place: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
        self._held[place] = None
        self.meter.wait(len(self._held))
        return place

    def let_go(self, place: asyncio.Future[Refusal | None]) -> None:
        """The request waits no longer."""
        if place in self._held:
            del self._held[place]
            self.meter.wait(len(self._held))

    def _settle_held(self) -> None:
        """Send on those that wait, in their order, if something serves; refuse them if nothing will."""
        if not self._held or (self.route.wakes and not self.serves):
            return
        held, self._held = self._held, {}
        self.meter.wait(0)
        for place in held:
            refusal = None
            if not self.serves:
                # Counted here, so that the report of a drain that begins now has them all.
                refusal = NotServing(self.route)
                self.refuse(refusal)
            if not place.done():
                place.set_result(refusal)

    # ---------------------------------------------------------------- requests

    def v2(self, version: str | None) -> Wanted:
        """What answers V2 requests: workers where there are any, else the servers that users brought."""
        worker, server = Wanted(False, version), Wanted(True, version)
        return server if not self.among(worker) and self.among(server) else worker

    def among(self, wanted: Wanted) -> list[Endpoint]:
        """The open instances that ``wanted`` means."""
        endpoints = self.servers if wanted.server else self.workers
        if wanted.version is None:
            return endpoints
        return [e for e in endpoints if str(e.instance.generation) == wanted.version]

    def admit(self, wanted: Wanted) -> None:
        """Take a place in the queue; :meth:`leave` gives it back.

        Raises:
            Refusal: none that is wanted serves, or as many requests run or wait as may.
        """
        if not self.among(wanted):
            raise self.unavailable(wanted)
        if self.queued >= self.route.max_queue:
            raise queue_full(self.route.name, self.route.max_queue)
        self.queued += 1

    def leave(self) -> None:
        self.queued -= 1

    def choose(self, wanted: Wanted, tried: tuple[Endpoint, ...] = (), *, probe: bool = False) -> Endpoint:
        """Of those wanted the one with the least in flight, in turns among equals, its count raised by
        one; :meth:`release` lowers it. A ``probe`` is none of the model's requests.

        Raises:
            Refusal: there is none besides ``tried``.
        """
        choices = self.among(wanted)
        if len(choices) == 1 and not tried:
            chosen = choices[0]
        else:
            choices = [e for e in choices if e not in tried]
            if not choices:
                raise instance_unreachable(self.route.name) if tried and self.serves else self.unavailable(wanted)
            if self.route.canary is not None and wanted.version is None:
                choices = self._of_revision(self.route.canary, choices, wanted.generation)
            chosen = self._least_loaded(choices)
        chosen.in_flight += 1
        if not probe:
            self.meter.begin(again=bool(tried))
        return chosen

    @staticmethod
    def _of_revision(canary: Canary, choices: list[Endpoint], generation: int | None) -> list[Endpoint]:
        """Those of the canary's revision that is wanted, or is drawn; all, where none of them can be asked."""
        if generation is None:
            generation = canary.after if random.random() * 100 < canary.percent else canary.before
        return [e for e in choices if e.instance.generation == generation] or choices

    def _least_loaded(self, choices: list[Endpoint]) -> Endpoint:
        now = time.monotonic()
        healthy = [e for e in choices if e.shunned_until <= now] or choices
        self._turn += 1
        start = self._turn % len(healthy)
        return min(healthy[start:] + healthy[:start], key=lambda e: e.in_flight)

    def release(self, endpoint: Endpoint, *, answered: bool = False, cut: bool = False, probe: bool = False) -> None:
        """A request has left ``endpoint``: with an answer, cut off by its end, or (neither) taken back."""
        endpoint.in_flight -= 1
        if not probe:
            self.meter.end()
        if cut and (arm := self.arms.get((REVISION, str(endpoint.instance.generation)))) is not None:
            # Counted here: the request may be answered by an instance of another revision.
            arm.errors += 1
        if not endpoint.open:
            if not self.serves:
                self.finished += answered
                self.cut += cut
            self._drop_if_idle(endpoint)
            self._tell_drained()

    def _drop_if_idle(self, endpoint: Endpoint) -> None:
        if not endpoint.open and not endpoint.in_flight:
            endpoint.link.close()
            if self.endpoints.get(endpoint.id) is endpoint:
                del self.endpoints[endpoint.id]

    def unavailable(self, wanted: Wanted) -> Refusal:
        """Why none of those wanted is there, and what to do about it."""
        route, versions = self.route, self.versions
        known = versions or (str(route.generation),)
        if wanted.version is not None and wanted.version not in known:
            return version_not_found(route.name, wanted.version, known)
        if not versions:
            return NotServing(route)
        # Workers serve only: or the last of them was replaced by a server while this request came in.
        return not_proxied(route.name) if wanted.server else instance_unreachable(route.name)

    def refuse(self, refusal: Refusal) -> None:
        """Count a request, for inference or to be passed on, that was refused. Probes are not counted."""
        if refusal.counted:
            return
        refusal.counted = True
        self.stats.count(refusal.status)
        self.meter.changed()
        if isinstance(refusal, NotServing) and self.route.state in DRAINING_STATES:
            self.refused += 1


class RouteTable:
    """Every model, by uid and by name."""

    def __init__(self) -> None:
        self.loads = Loads()
        self._by_uid: dict[str, ServedModel] = {}
        self._by_name: dict[tuple[str, str], ServedModel] = {}
        self._public: set[str] = set()

    @property
    def any_public(self) -> bool:
        """Whether there is a model that may be used without a token."""
        return bool(self._public)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(list(self._by_name.values()))

    def find(self, namespace: str, name: str) -> ServedModel | None:
        return self._by_name.get((namespace, name))

    def find_uid(self, uid: str) -> ServedModel | None:
        return self._by_uid.get(uid)

    def set(self, route: Route) -> ServedModel:
        model = self._by_uid.get(route.uid)
        if model is None:
            model = self._by_uid[route.uid] = ServedModel(route, self.loads.add(route.uid))
        else:
            model.update(route)
        if route.public:
            self._public.add(route.uid)
        else:
            self._public.discard(route.uid)
        key = (route.namespace, route.name)
        earlier = self._by_name.get(key)
        if earlier is not None and earlier is not model:
            # A model deleted and made again under its name: the old one's uid is history.
            self.remove(earlier.route.uid)
        self._by_name[key] = model
        return model

    def remove(self, uid: str) -> None:
        model = self._by_uid.pop(uid, None)
        if model is not None:
            self._public.discard(uid)
            model.close()
            self.loads.remove(model.meter)
            key = (model.route.namespace, model.route.name)
            if self._by_name.get(key) is model:
                del self._by_name[key]

    def load(self, folder: Path) -> None:
        """Take in every route file of ``folder``; a broken one is logged and left out."""
        found = []
        for path in folder.glob("*.json"):
            try:
                found.append((path.stat().st_mtime_ns, parse_route(path.read_bytes())))
            except (InvalidRoute, OSError) as error:
                log.warning("route file %s is left out: %s", path, error)
        # Where a crash left the file of a deleted model beside that of its successor, the newer one holds.
        for _, route in sorted(found, key=lambda item: item[0]):
            self.set(route)
