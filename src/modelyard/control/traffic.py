"""What the arms of each model's traffic have had: the gateway's counts, as last told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from modelyard.control.in_flight import InFlight
from modelyard.control.ports import Answered, ArmLoad, CanaryShare, Load, Loads, Store
from modelyard.domain.canary import Evidence
from modelyard.domain.model import InstancePhase, Model, Rollout
from modelyard.domain.significance import Counts

REVISION = "revision"


class TrafficBook:
    """Everything that one gateway has told of the arms of a site's models. Counts begin anew with each gateway: a
    canary then has that much less to be judged by."""

    def __init__(self) -> None:
        self._gateway = ""
        self._arms: dict[str, tuple[ArmLoad, ...]] = {}
        # How requests were answered, by the model's uid.
        self.answered: dict[str, Answered] = {}
        # Those of which something was told since somebody emptied this.
        self.news: set[str] = set()
        # What was told last of each model since somebody emptied this, by the gateway and the model's uid: of a gateway
        # that has ended too, those of an earlier one first.
        self.told: dict[tuple[str, str], Load] = {}
        self.on_told: Callable[[], None] = lambda: None
        self.in_flight = InFlight()

    def take(self, loads: Loads) -> None:
        """A report of the gateway."""
        if loads.gateway != self._gateway:
            self._gateway = loads.gateway
            self._arms.clear()
            self.answered.clear()
            self.news.clear()
            self.in_flight.clear()
        self.in_flight.take(loads.models)
        for load in loads.models:
            self.told[loads.gateway, load.uid] = load
            if load.answered is not None:
                self.answered[load.uid] = load.answered
                self.news.add(load.uid)
            if load.arms:
                self._arms[load.uid] = load.arms
            else:
                self._arms.pop(load.uid, None)
        self.on_told()

    @property
    def gateway(self) -> str:
        """Whose counts these are; empty while nothing was told."""
        return self._gateway

    def forget(self, uid: str) -> None:
        self._arms.pop(uid, None)
        self.answered.pop(uid, None)
        self.news.discard(uid)
        self.in_flight.forget(uid)

    def arms(self, uid: str) -> Sequence[ArmLoad]:
        """Of a model that has arms and of which something was told."""
        return self._arms.get(uid, ())

    def evidence(self, uid: str, rollout: Rollout | None) -> Evidence | None:
        """What is known of the canary of ``rollout``; None: there is none, or nothing was told of it."""
        if rollout is None or rollout.ramp is None:
            return None
        by_name = {arm.name: arm for arm in self.arms(uid) if arm.kind == REVISION}
        old, new = by_name.get(str(rollout.before.generation)), by_name.get(str(rollout.after.generation))
        if old is None or new is None or old.mark != new.mark:
            return None
        return Evidence(mark=new.mark, old=counts(old), new=counts(new))


async def serves(store: Store, namespace: str, name: str) -> bool:
    """Whether there is a model of this name that has an instance to answer."""
    model = await store.get_model(namespace, name)
    return model is not None and any(i.phase is InstancePhase.READY for i in model.status.instances)


async def idle_arms(store: Store, models: Collection[Model]) -> Mapping[str, Sequence[str]]:
    """The arms and shadows of ``models`` that do not serve, by the model's uid; models without any are missing."""
    found = {}
    for model in models:
        traffic = model.spec.traffic
        names = dict.fromkeys([*(arm.model for arm in traffic.split), *(shadow.model for shadow in traffic.shadow)])
        if idle := [name for name in names if not await serves(store, model.namespace, name)]:
            found[model.uid] = idle
    return found


def counts(arm: ArmLoad) -> Counts:
    return Counts(requests=arm.requests, errors=arm.errors, seconds=arm.seconds, buckets=arm.buckets)


def canary_share(rollout: Rollout | None) -> CanaryShare | None:
    """How the requests are shared while a canary of ``rollout`` decides."""
    canary = rollout.ramp if rollout is not None else None
    if rollout is None or canary is None:
        return None
    before, after = rollout.before.generation, rollout.after.generation
    return CanaryShare(before=before, after=after, percent=canary.percent, mark=canary.mark)
