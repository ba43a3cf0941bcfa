"""The ledger and the queue: what fits, who goes first, who makes room."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.capacity import (
    OVERTAKEN_AT_MOST,
    UNUSED_AFTER,
    Claim,
    Device,
    Holding,
    Inventory,
    Ledger,
    Room,
    Tenant,
)
from modelyard.domain.keeping import Thing, choose
from modelyard.domain.model import Amount, ModelRef, Quota
from modelyard.domain.spec import Preempt

NOW = datetime(2030, 1, 1, tzinfo=UTC)
GIB = 2**30


def ref(name: str, namespace: str = "default") -> ModelRef:
    return ModelRef(f"uid-{name}", namespace, name)


def claim(
    name: str, gpus: int = 1, *, count: int = 1, priority: int = 0, waited: float = 0.0, kept: bool = False,
    memory: int = 0, namespace: str = "default",
) -> Claim:  # fmt: skip
    return Claim(
        ref=ref(name, namespace), each=Amount(devices=gpus, memory=memory), count=count, priority=priority, kept=kept,
        since=NOW - timedelta(seconds=waited),
    )  # fmt: skip


def holding(name: str, *devices: str, memory: int = 0, namespace: str = "default") -> Holding:
    amount = Amount(devices=len(devices), memory=memory)
    return Holding(ref=ref(name, namespace), instance=f"i-{name}", amount=amount, devices=devices)


def room(
    *holdings: Holding, gpus: int = 2, claims: tuple[Claim, ...] = (), tenants: tuple[Tenant, ...] = (),
    quotas: dict[str, Quota] | None = None,
) -> Room:  # fmt: skip
    devices = tuple(Device(id=str(n)) for n in range(gpus))
    return Room(
        ledger=Ledger(inventory=Inventory(cpu=8, memory=16 * GIB, devices=devices), holdings=holdings),
        claims=claims, tenants={t.ref.uid: t for t in tenants}, quotas=quotas or {},
    )  # fmt: skip


def tenant(name: str, *, priority: int = 0, pin: bool = False, unused: float | None = None) -> Tenant:
    quiet = None if unused is None else NOW - timedelta(seconds=unused)
    return Tenant(ref=ref(name), priority=priority, pin=pin, quiet_since=quiet)


def test_what_fits_is_granted() -> None:
    assert room().grant(claim("a", 2), NOW).count == 1
    assert room().grant(claim("a", 2), NOW).shortage is None


def test_of_several_instances_as_many_as_fit_are_granted_and_the_rest_waits() -> None:
    grant = room(holding("b", "0")).grant(claim("a", 1, count=2), NOW)
    assert grant.count == 1
    assert grant.shortage is not None


def test_what_does_not_fit_waits_with_a_reason_and_the_holders() -> None:
    grant = room(holding("b", "0"), holding("c", "1")).grant(claim("a"), NOW)
    assert grant.count == 0
    assert grant.shortage is not None
    assert grant.shortage.message == "1 GPU needed, 0 free of 2; held by b, c"
    assert grant.shortage.holders == (ref("b"), ref("c"))
    assert grant.shortage.kinds == ("devices",)


def test_only_those_who_hold_what_is_short_are_named() -> None:
    grant = room(holding("b", "0", "1"), holding("c", memory=GIB)).grant(claim("a"), NOW)
    assert grant.shortage is not None
    assert grant.shortage.holders == (ref("b"),)


def test_a_claim_of_higher_priority_goes_first_whatever_its_age() -> None:
    waiting = (claim("old", waited=500), claim("urgent", priority=5))
    one_left = room(holding("b", "0"), claims=waiting)
    assert one_left.grant(waiting[1], NOW).count == 1
    refused = one_left.grant(waiting[0], NOW)
    assert refused.count == 0
    assert refused.shortage is not None
    assert "urgent before it in the queue" in refused.shortage.message


def test_of_equal_priority_the_older_goes_first() -> None:
    waiting = (claim("old", waited=10), claim("new", waited=5))
    one_left = room(holding("b", "0"), claims=waiting)
    assert [one_left.grant(c, NOW).count for c in waiting] == [1, 0]
    assert [one_left.place(c) for c in waiting] == [1, 2]


def test_a_model_that_lost_its_instance_goes_before_all_that_wait_for_their_first() -> None:
    waiting = (claim("urgent", priority=900, waited=100), claim("crashed", kept=True))
    one_left = room(holding("b", "0"), claims=waiting)
    assert [one_left.grant(c, NOW).count for c in waiting] == [0, 1]


def test_a_small_claim_may_pass_a_large_one_that_does_not_fit_yet() -> None:
    large, small = claim("large", 2, waited=30), claim("small")
    assert room(holding("b", "0"), claims=(large,)).grant(small, NOW).count == 1


def test_a_large_claim_that_has_waited_long_enough_is_passed_no_more() -> None:
    large, small = claim("large", 2, waited=OVERTAKEN_AT_MOST.total_seconds()), claim("small")
    grant = room(holding("b", "0"), claims=(large,)).grant(small, NOW)
    assert grant.count == 0
    assert grant.shortage is not None
    assert "large before it in the queue" in grant.shortage.message


def test_what_is_saved_up_is_only_what_the_large_claim_is_short_of() -> None:
    large = claim("large", 2, waited=1000, memory=GIB)
    needs_no_gpu = claim("cpu-only", 0, memory=GIB)
    assert room(holding("b", "0"), claims=(large,)).grant(needs_no_gpu, NOW).count == 1


def test_a_quota_holds_back_its_own_namespace_and_nobody_else() -> None:
    quotas = {"team": Quota(gpus=1)}
    blocked = claim("second", namespace="team", waited=1000)
    here = room(holding("first", "0", namespace="team"), claims=(blocked,), quotas=quotas)
    refused = here.grant(blocked, NOW)
    assert refused.count == 0
    assert refused.shortage is not None
    assert refused.shortage.reason == "QuotaExceeded"
    assert refused.shortage.message == ("1 GPU needed, 0 free of 1 by the quota of namespace team; held by first")
    assert here.grant(claim("other"), NOW).count == 1


def test_what_is_given_back_counts_for_the_claim_that_gives_it_back() -> None:
    full = room(holding("a", "0", "1"))
    assert full.grant(claim("a", 2, kept=True), NOW).count == 0
    assert full.grant(claim("a", 2, kept=True), NOW, given_back=Amount(devices=2)).count == 1


def test_the_fewest_that_would_have_to_stop_are_named_unused_before_used() -> None:
    tenants = (tenant("busy", priority=-5), tenant("unused", unused=100))
    full = room(holding("busy", "0"), holding("unused", "1"), tenants=tenants)
    assert full.in_the_way(claim("a"), NOW) == (ref("unused"),)
    assert set(full.in_the_way(claim("a", 2), NOW)) == {ref("busy"), ref("unused")}


def test_nobody_is_in_the_way_of_what_would_never_fit() -> None:
    assert room(holding("b", "0"), tenants=(tenant("b"),)).in_the_way(claim("a", 3), NOW) == ()


def test_preempting_takes_only_what_it_may() -> None:
    unused = UNUSED_AFTER.total_seconds()
    cases: list[tuple[Tenant, set[Preempt]]] = [
        (tenant("x", unused=unused), {Preempt.IDLE, Preempt.LOWER_PRIORITY}),
        (tenant("x", unused=unused - 1), set()),
        (tenant("x", unused=unused, pin=True), set()),
        (tenant("x", unused=unused, priority=1), set()),
        (tenant("x", priority=-1), {Preempt.LOWER_PRIORITY}),
        (tenant("x", priority=-1, pin=True), set()),
        (replace(tenant("x", priority=-1, unused=unused), protected=True), set()),
        (tenant("x", priority=0), set()),
    ]
    for victim, allowed in cases:
        full = room(holding("x", "0"), gpus=1, tenants=(victim,))
        took = {p for p in Preempt if full.victims(claim("a"), p, NOW)}
        assert took == allowed, victim


@given(
    st.lists(
        st.tuples(st.none() | st.integers(0, 200), st.booleans(), st.integers(-1, 1)), min_size=1, max_size=5
    )
)  # fmt: skip
def test_models_leave_the_memory_by_the_rule_by_which_versions_leave_the_cache(
    held: list[tuple[int | None, bool, int]],
) -> None:
    """Each of them holds one device of as many as there are: one has to go, by ``preempt: idle``."""
    tenants = tuple(
        tenant(f"t{n}", priority=priority, pin=pin, unused=unused) for n, (unused, pin, priority) in enumerate(held)
    )
    full = room(*(holding(t.ref.name, str(n)) for n, t in enumerate(tenants)), gpus=len(tenants), tenants=tenants)
    things = [Thing(what=t.ref, name=t.ref.uid, use=t.use, pieces={t.ref.uid: 1}) for t in tenants if t.priority <= 0]
    choice = choose(things, len(things) - 1, (NOW - UNUSED_AFTER).timestamp())
    assert full.victims(claim("a"), Preempt.IDLE, NOW) == tuple(thing.what for thing in choice.going)


def test_one_that_is_leaving_already_is_enough_nobody_else_has_to_go() -> None:
    going = Tenant(ref=ref("x"), leaving=True)
    tenants = (going, tenant("y", unused=1000))
    full = room(holding("x", "0"), holding("y", "1"), tenants=tenants)
    assert full.victims(claim("a"), Preempt.IDLE, NOW) == ()


claims = st.lists(
    st.builds(
        lambda n, gpus, count, priority, waited, kept: claim(
            f"m{n}", gpus, count=count, priority=priority, waited=waited, kept=kept
        ),
        st.integers(0, 9), st.integers(0, 3), st.integers(1, 3), st.integers(-2, 2), st.floats(0, 200), st.booleans(),
    ),
    unique_by=lambda c: c.ref.uid, max_size=6,
)  # fmt: skip


@given(waiting=claims, held=st.integers(0, 3))
def test_all_that_is_granted_at_one_moment_fits_together(waiting: list[Claim], held: int) -> None:
    here = room(holding("h", *map(str, range(held))), gpus=3, claims=tuple(waiting))
    granted = sum(here.grant(c, NOW).count * c.each.devices for c in waiting)
    assert granted <= 3 - held


@given(waiting=claims)
def test_the_first_in_the_queue_gets_all_that_there_is_for_it(waiting: list[Claim]) -> None:
    here = room(gpus=3, claims=tuple(waiting))
    for first in sorted(waiting, key=lambda c: c.rank)[:1]:
        possible = first.each.times_in(Amount(devices=3))
        assert here.grant(first, NOW).count == min(first.count, possible)


# ------------------------------------------------------------------------------------------- saving up

AGED = OVERTAKEN_AT_MOST.total_seconds()


def test_nothing_is_saved_up_for_what_the_site_could_never_hold() -> None:
    assert room(claims=(claim("huge", 3, waited=AGED),)).grant(claim("small"), NOW).count == 1


def test_nor_for_what_is_held_by_those_who_are_not_expected_to_go() -> None:
    large, small = claim("large", 2, waited=AGED), claim("small")
    leaving = Tenant(ref=ref("h"), pin=True, leaving=True)
    cases = [
        (tenant("h"), 0),
        (tenant("h", pin=True), 1),
        (tenant("h", priority=1), 1),
        (tenant("h", priority=-1), 0),
        (leaving, 0),
    ]
    for holder, count in cases:
        here = room(holding("h", "0"), claims=(large,), tenants=(holder,))
        assert here.grant(small, NOW).count == count, holder


def test_no_more_is_saved_up_than_could_ever_be_used() -> None:
    waiting = tuple(claim(f"large{n}", 2, waited=AGED + n, memory=6 * GIB) for n in range(3))
    here = room(holding("h", "0"), claims=waiting)
    assert here.grant(claim("plain", 0, memory=10 * GIB), NOW).count == 1, "one of them at most can have the devices"
    assert here.grant(claim("plain", 0, memory=11 * GIB), NOW).count == 0


def test_what_a_claim_for_more_holds_itself_brings_it_no_nearer() -> None:
    more = claim("a", 2, waited=AGED)
    here = room(holding("a", "0", "1"), gpus=3, claims=(more,), tenants=(tenant("a"),))
    assert here.grant(claim("small"), NOW).count == 1


def test_but_what_is_being_replaced_does() -> None:
    update = claim("a", 3, kept=True)
    here = room(holding("a", "0", "1"), gpus=3, claims=(update,), tenants=(tenant("a", pin=True),))
    assert here.grant(claim("small"), NOW).count == 0


# ------------------------------------------------------------------------------------------- quotas, letting in


def test_what_a_namespace_holds_elsewhere_counts_for_its_quota() -> None:
    here = replace(room(quotas={"team": Quota(gpus=2)}), elsewhere={"team": Amount(devices=1)})
    grant = here.grant(claim("a", count=2, namespace="team"), NOW)
    assert grant.count == 1
    assert grant.shortage is not None
    assert grant.shortage.reason == "QuotaExceeded"
    assert grant.shortage.message.endswith("by the quota of namespace team; models of other sites hold of it too")
    assert here.grant(claim("b", count=2), NOW).count == 2


def test_of_one_namespace_too_the_next_in_the_queue_comes_first() -> None:
    waiting = (claim("old", waited=9, namespace="team"), claim("new", namespace="team"))
    here = room(claims=waiting, quotas={"team": Quota(gpus=1)})
    assert [here.grant(c, NOW).count for c in waiting] == [1, 0]


def test_admissible_is_who_would_get_something_also_past_one_that_must_wait() -> None:
    waiting = (claim("large", 2, waited=9), claim("small", waited=5), claim("late", waited=1))
    assert room(holding("h", "0"), claims=waiting).admissible(NOW) == (ref("small"),)
    assert room(holding("h", "0", "1"), claims=waiting).admissible(NOW) == ()


@given(waiting=claims, held=st.integers(0, 3))
def test_admissible_are_those_to_whom_something_is_granted(waiting: list[Claim], held: int) -> None:
    here = room(holding("h", *map(str, range(held))), gpus=3, claims=tuple(waiting))
    granted = {c.ref for c in waiting if c.each and here.grant(c, NOW).count}
    assert set(here.admissible(NOW)) == granted
