"""What every backend must do, whatever it runs instances on: inherit :class:`BackendContract` in a test
module and give it a ``backend`` fixture (open), a ``ref`` fixture and a ``spec`` fixture."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from modelyard.backends.port import Backend, Member
from modelyard.domain.capacity import amount_of
from modelyard.domain.model import InstancePhase, ModelRef, Target
from modelyard.domain.spec import Spec
from tests.backends.waiting import ended, gone, ready, until

FIRST, SECOND = Target(1), Target(2)


def members(spec: Spec, *counts: tuple[Target, int]) -> tuple[Member, ...]:
    return tuple(Member(target=target, spec=spec, replicas=count) for target, count in counts)


class BackendContract:
    async def test_nothing_is_there_of_an_unknown_model(self, backend: Backend, ref: ModelRef) -> None:
        observation = await backend.observe(ref)
        assert observation.instances == ()
        assert observation.exits == ()

    async def test_what_is_asked_for_is_seen_at_once_and_becomes_ready(
        self, backend: Backend, ref: ModelRef, spec: Spec
    ) -> None:
        await backend.converge(ref, members(spec, (FIRST, 2)), 5)
        seen = (await backend.observe(ref)).instances
        assert [i.phase for i in seen] == [InstancePhase.STARTING] * 2
        became = await ready(backend, ref, 2)
        assert {i.id for i in became} == {i.id for i in seen}
        assert {i.target for i in became} == {FIRST}
        assert all(i.address for i in became)

    async def test_converging_again_changes_nothing(self, backend: Backend, ref: ModelRef, spec: Spec) -> None:
        await backend.converge(ref, members(spec, (FIRST, 1)), 5)
        await backend.converge(ref, members(spec, (FIRST, 1)), 5)
        before = await ready(backend, ref, 1)
        await backend.converge(ref, members(spec, (FIRST, 1)), 5)
        assert (await backend.observe(ref)).instances == before

    async def test_the_newest_surplus_goes_first(self, backend: Backend, ref: ModelRef, spec: Spec) -> None:
        await backend.converge(ref, members(spec, (FIRST, 1)), 5)
        (oldest,) = await ready(backend, ref, 1)
        await backend.converge(ref, members(spec, (FIRST, 3)), 5)
        await ready(backend, ref, 3)
        await backend.converge(ref, members(spec, (FIRST, 1)), 5)
        (left,) = await until(backend, ref, lambda o: len(o.instances) == 1, lambda o: o.instances)
        assert left.id == oldest.id
        assert (await backend.observe(ref)).exits == ()

    async def test_the_surplus_that_is_named_goes_before_any_other(
        self, backend: Backend, ref: ModelRef, spec: Spec
    ) -> None:
        await backend.converge(ref, members(spec, (FIRST, 3)), 5)
        named, *others = [i.id for i in await ready(backend, ref, 3)]
        await backend.converge(ref, members(spec, (FIRST, 2)), 5, (named,))
        left = await until(backend, ref, lambda o: len(o.instances) == 2, lambda o: o.instances)
        assert [i.id for i in left] == others

    async def test_the_surplus_is_replaced_where_as_many_are_wanted_as_before(
        self, backend: Backend, ref: ModelRef, spec: Spec
    ) -> None:
        await backend.converge(ref, members(spec, (FIRST, 2)), 5)
        named, other = [i.id for i in await ready(backend, ref, 2)]
        await backend.converge(ref, members(spec, (FIRST, 2)), 5, (named,))
        new = await until(
            backend,
            ref,
            lambda o: [i.phase for i in o.instances] == [InstancePhase.READY] * 2,
            lambda o: [i.id for i in o.instances if i.id != named],
        )
        assert len(new) == 2
        assert other in new

    async def test_where_so_many_are_the_most_none_is_launched(
        self, backend: Backend, ref: ModelRef, spec: Spec
    ) -> None:
        at_most = Member(target=FIRST, spec=spec, replicas=2, at_most=True)
        await backend.converge(ref, (at_most, Member(target=SECOND, spec=spec, replicas=1)), 5)
        assert {i.target for i in (await backend.observe(ref)).instances} == {SECOND}

    async def test_one_that_ends_and_one_that_takes_its_place_are_one_wish(
        self, backend: Backend, ref: ModelRef, spec: Spec
    ) -> None:
        await backend.converge(ref, members(spec, (FIRST, 1)), 5)
        (old,) = await ready(backend, ref, 1)
        await backend.converge(ref, members(spec, (FIRST, 1)), 5, (old.id,))
        (new,) = await until(
            backend, ref, lambda o: [i.phase for i in o.instances] == [InstancePhase.READY], lambda o: o.instances
        )
        assert new.id != old.id

    async def test_instances_of_other_targets_end(self, backend: Backend, ref: ModelRef, spec: Spec) -> None:
        await backend.converge(ref, members(spec, (FIRST, 1)), 5)
        await ready(backend, ref, 1)
        await backend.converge(ref, members(spec, (SECOND, 1), (FIRST, 1)), 5)
        assert {i.target for i in await ready(backend, ref, 2)} == {FIRST, SECOND}
        await backend.converge(ref, members(spec, (SECOND, 1)), 5)
        (left,) = await until(backend, ref, lambda o: len(o.instances) == 1, lambda o: o.instances)
        assert left.target == SECOND

    async def test_release_leaves_nothing_and_no_exit(self, backend: Backend, ref: ModelRef, spec: Spec) -> None:
        await backend.converge(ref, members(spec, (FIRST, 2)), 5)
        await ready(backend, ref, 2)
        await backend.release(ref, 5)
        phases = {i.phase for i in (await backend.observe(ref)).instances}
        assert phases <= {InstancePhase.TERMINATING}
        await backend.release(ref, 5)
        await gone(backend, ref)
        await backend.release(ref, 0)
        assert (await backend.observe(ref)).exits == ()

    async def test_a_release_wins_over_a_launch_under_way(self, backend: Backend, ref: ModelRef, spec: Spec) -> None:
        await backend.converge(ref, members(spec, (FIRST, 2)), 5)
        await backend.release(ref, 0)
        await gone(backend, ref)
        assert (await backend.observe(ref)).exits == ()

    async def test_what_ends_is_replaced_by_the_next_converge_only(
        self, backend: Backend, ref: ModelRef, spec: Spec
    ) -> None:
        await backend.converge(ref, members(spec, (FIRST, 1)), 5)
        await ready(backend, ref, 1)
        await backend.release(ref, 0)
        await backend.converge(ref, members(spec, (FIRST, 1)), 5)
        await until(
            backend, ref, lambda o: len(o.instances) == 1 and o.instances[0].phase is InstancePhase.READY, lambda o: o
        )

    async def test_forget_and_remove_of_nothing_are_harmless(self, backend: Backend, ref: ModelRef) -> None:
        await backend.forget(ref, ("a0000000",))
        await backend.remove(ref)
        await backend.remove(ref)

    async def test_changes_come_with_each_news(self, backend: Backend, ref: ModelRef, spec: Spec) -> None:
        changes = backend.changes()
        await backend.converge(ref, members(spec, (FIRST, 1)), 5)
        async with asyncio.timeout(20):
            async for changed in changes:
                assert changed == ref
                if all(i.phase is InstancePhase.READY for i in (await backend.observe(ref)).instances):
                    break
        await backend.release(ref, 5)
        async with asyncio.timeout(20):
            async for _ in changes:
                if not (await backend.observe(ref)).instances:
                    break

    async def test_the_ledger_holds_what_instances_have_from_the_wish_until_they_are_gone(
        self, backend: Backend, ref: ModelRef, spec: Spec
    ) -> None:
        each = amount_of(spec.resources)
        assert each, "the contract's spec must ask for something"
        await backend.converge(ref, members(spec, (FIRST, 2)), 5)
        assert (await backend.ledger()).held == each.times(2)
        instances = await ready(backend, ref, 2)
        assert {h.instance: (h.ref, h.amount) for h in (await backend.ledger()).holdings} == {
            i.id: (ref, i.held) for i in instances
        }
        await backend.release(ref, 5)
        changes = backend.changes()
        async with asyncio.timeout(20):
            # In this order: what is seen after the ledger was read was there when it was.
            while (holdings := (await backend.ledger()).holdings) and (seen := await backend.observe(ref)).instances:
                assert {i.id for i in seen.instances} <= {h.instance for h in holdings}
                await anext(changes)
        ledger = await backend.ledger()
        assert not ledger.held
        assert ledger.free == ledger.inventory.total == (await backend.inventory()).total

    async def test_instances_never_share_a_device_and_keep_theirs_until_they_are_gone(
        self, backend: Backend, ref: ModelRef, spec: Spec
    ) -> None:
        devices = {device.id for device in (await backend.inventory()).devices}
        if len(devices) < 2:
            pytest.skip("the backend has not two devices")
        spec = replace(spec, resources=replace(spec.resources, gpus=1))
        other = ModelRef("u9", ref.namespace, "other")
        both = members(spec, (FIRST, 1), (SECOND, 1))
        await backend.converge(ref, both, 5)
        instances = await ready(backend, ref, 2)
        held = [id_ for i in instances for id_ in i.devices]
        assert len(held) == len(set(held)) == 2
        assert set(held) <= devices
        assert {h.instance: h.devices for h in (await backend.ledger()).holdings} == {
            i.id: i.devices for i in instances
        }
        # One more than there are: it does not happen, and says who has them.
        greedy = replace(spec, resources=replace(spec.resources, gpus=len(devices) - 1))
        await backend.converge(other, members(greedy, (FIRST, 1)), 5)
        exit_ = await ended(backend, other)
        assert exit_.failure.code == "no_device"
        assert not exit_.failure.permanent
        assert str(ref) in exit_.failure.message
        await backend.remove(other)
        await backend.release(ref, 5)
        await gone(backend, ref)
        await backend.converge(ref, both, 5)
        assert len({id_ for i in await ready(backend, ref, 2) for id_ in i.devices}) == 2

    async def test_a_spec_that_cannot_be_carried_out_is_never_launched(
        self, backend: Backend, ref: ModelRef, spec: Spec
    ) -> None:
        unresolved = replace(spec, unresolved="There is no engine 'abacus' any more.")
        await backend.converge(ref, members(unresolved, (FIRST, 1)), 5)
        failure = (await ended(backend, ref)).failure
        assert (failure.code, failure.message) == ("unresolved", "There is no engine 'abacus' any more.")
        assert failure.permanent
        assert not (await backend.ledger()).held

    async def test_what_is_in_use_is_no_orphan(self, backend: Backend, ref: ModelRef, spec: Spec) -> None:
        await backend.converge(ref, members(spec, (FIRST, 1)), 5)
        assert list(await backend.orphans({ref.uid})) == []
        await ready(backend, ref, 1)
        assert list(await backend.orphans({ref.uid})) == []

    async def test_an_instance_has_a_log_and_keeps_it_when_it_is_gone(
        self, backend: Backend, ref: ModelRef, spec: Spec
    ) -> None:
        if not backend.capabilities.logs:
            pytest.skip("the backend has no logs")
        await backend.converge(ref, members(spec, (FIRST, 1)), 5)
        (instance,) = await ready(backend, ref, 1)
        await backend.release(ref, 5)
        await gone(backend, ref)
        await backend.remove(ref)
        lines = [line async for line in backend.logs(ref, instance.id, follow=False, tail=100)]
        assert lines
        assert {line.instance for line in lines} == {instance.id}
        assert lines[-1:] == [line async for line in backend.logs(ref, None, follow=False, tail=1)]
