"""Members, keys and features on record; and what a caller sees of many models."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.access.keys import ApiKey, digest, new_key, new_secret
from modelyard.access.members import Member, MemberKind
from modelyard.control.access_ports import Membership
from modelyard.control.ports import EventQuery, ModelQuery, OperationQuery
from modelyard.domain.access import EVERYWHERE, Grant, Principal, PrincipalKind, Role, administrator
from modelyard.domain.commands import Change
from modelyard.domain.errors import AlreadyExists, NotFound
from modelyard.domain.model import Namespace
from modelyard.domain.rates import Rate
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, SPEC, created


def membership(namespace: str, value: str, role: Role = Role.VIEWER, models: tuple[str, ...] = ()) -> Membership:
    member = Member(namespace=namespace, kind=MemberKind.EMAIL, value=value, role=role, models=models)
    return Membership(member=member, added_at=EPOCH, added_by="admin", reason="joined")


def key(namespace: str, name: str) -> ApiKey:
    secret, key_id = new_key()
    return ApiKey(
        id=key_id, name=name, digest=digest(secret), namespace=namespace, role=Role.OPERATOR, models=("a-*",),
        groups=("team",), rate=Rate(per_second=2.5, burst=3), created_at=EPOCH, created_by="admin",
        expires_at=EPOCH + timedelta(days=9),
    )  # fmt: skip


async def test_a_member_has_one_role_in_a_namespace_and_is_taken_out_again(store: SqlStore) -> None:
    first = membership("default", "alice@example.com")
    assert await store.access.put_member(first)
    raised = membership("default", "alice@example.com", Role.EDITOR, ("wine-*",))
    assert not await store.access.put_member(raised)
    everywhere = membership(EVERYWHERE, "alice@example.com", Role.VIEWER)
    assert await store.access.put_member(everywhere)
    assert list(await store.access.list_members("default")) == [raised]
    assert set((await store.access.snapshot()).members) == {raised.member, everywhere.member}
    assert await store.access.remove_member(first.member)
    assert not await store.access.remove_member(first.member)
    assert list(await store.access.list_members("default")) == []
    for refused in (store.access.list_members("nowhere"), store.access.put_member(membership("nowhere", "x@y"))):
        with pytest.raises(NotFound, match="'nowhere'"):
            await refused


async def test_a_key_is_kept_as_it_is_and_its_name_is_taken_until_it_is_revoked(store: SqlStore) -> None:
    made = key("default", "ci")
    await store.access.add_key(made)
    assert list(await store.access.list_keys("default")) == [made]
    with pytest.raises(AlreadyExists, match="'ci'"):
        await store.access.add_key(key("default", "ci"))
    await store.access.add_key(key(EVERYWHERE, "ci"))
    secret = new_secret(made.id)
    rotated = await store.access.change_key("default", made.id, lambda k: k.rotated(secret, EPOCH))
    assert rotated == replace(
        made, digest=digest(secret), previous_digest=made.digest, previous_until=EPOCH
    )  # fmt: skip
    with pytest.raises(NotFound):
        await store.access.change_key(EVERYWHERE, made.id, lambda k: k)
    await store.access.change_key("default", made.id, lambda k: replace(k, revoked_at=EPOCH))
    await store.access.add_key(key("default", "ci"))
    assert len((await store.access.snapshot()).keys) == 3


async def test_keys_that_ended_long_ago_are_forgotten_and_no_others(store: SqlStore) -> None:
    kept = timedelta(days=90)
    made = {name: key("default", name) for name in ("expired", "revoked", "just-revoked", "for-good")}
    made["for-good"] = replace(made["for-good"], expires_at=None)
    for one in made.values():
        await store.access.add_key(one)
    for name, at in (("revoked", EPOCH), ("just-revoked", EPOCH + timedelta(days=5))):
        await store.access.change_key("default", made[name].id, lambda key, at=at: replace(key, revoked_at=at))
    # Each expires on the ninth day, if it does.
    assert await store.access.purge(kept, EPOCH + kept - timedelta(seconds=1)) == 0
    assert await store.access.purge(kept, EPOCH + kept) == 1
    assert await store.access.purge(kept, EPOCH + kept + timedelta(days=5)) == 1
    assert {key.name for key in await store.access.list_keys("default")} == {"expired", "for-good"}
    assert await store.access.purge(kept, EPOCH + kept + timedelta(days=9)) == 1
    assert [key.name for key in (await store.access.snapshot()).keys] == ["for-good"]


async def test_the_use_of_a_key_is_noted_and_never_earlier_than_it_was(store: SqlStore) -> None:
    made = key("default", "ci")
    await store.access.add_key(made)
    for minutes in (5, 3):
        await store.access.note_use(made.id, EPOCH + timedelta(minutes=minutes))
    (found,) = await store.access.list_keys("default")
    assert found.last_used_at == EPOCH + timedelta(minutes=5)


async def test_a_namespace_that_is_made_again_has_none_of_the_members_and_keys_of_the_one_before(
    store: SqlStore,
) -> None:
    team = Namespace(name="team", created_at=EPOCH)
    await store.create_namespace(team)
    await store.access.put_member(membership("team", "alice@example.com"))
    await store.access.add_key(key("team", "ci"))
    await store.delete_namespace("team")
    await store.create_namespace(team)
    snapshot = await store.access.snapshot()
    assert (snapshot.keys, snapshot.members) == ((), ())


async def test_features_of_a_namespace_are_kept(store: SqlStore) -> None:
    def change(namespace: Namespace) -> Namespace:
        return replace(namespace, features={"python": False, "backends": "local"}, description="of the team")

    changed = await store.change_namespace("default", change)
    assert await store.get_namespace("default") == changed
    assert changed.features == {"python": False, "backends": "local"}


# ------------------------------------------------------------------------------------------- what is seen

_ROLES = st.sampled_from([Role.VIEWER, Role.OPERATOR, Role.EDITOR, Role.ADMINISTRATOR])
_PATTERNS = st.lists(st.sampled_from(["a", "a-*", "b-?", "*", "*-x"]), max_size=2, unique=True)
_GRANTS = st.builds(
    Grant, st.sampled_from(["default", "team", EVERYWHERE]), _ROLES, _PATTERNS.map(tuple)
)  # fmt: skip
_CALLERS = st.builds(
    lambda grants, groups: Principal(name="p", kind=PrincipalKind.PERSON, grants=tuple(grants), groups=groups),
    st.lists(_GRANTS, max_size=3), st.frozensets(st.sampled_from(["red", "blue"])),
)  # fmt: skip
_MODELS = [
    ("default", "a", ()), ("default", "a-1", ("red",)), ("default", "b-x", ("red", "blue")), ("team", "a", ("blue",)),
    ("team", "b-x", ()), ("team", "c", ("green",)),
]  # fmt: skip


async def test_lists_hold_just_what_the_caller_sees_and_their_pages_are_full(store: SqlStore) -> None:
    await store.create_namespace(Namespace(name="team", created_at=EPOCH))
    made = []
    for namespace, name, groups in _MODELS:
        made.append(await created(store, name, replace(SPEC, groups=groups), namespace=namespace))
    callers: list[Principal] = [administrator("admin")]

    @given(_CALLERS)
    def collect(caller: Principal) -> None:
        callers.append(caller)

    collect()
    for caller in callers[:40]:
        wanted = [m.uid for m in made if caller.sees(m.namespace, m.name, m.spec.groups)]
        query = ModelQuery(sight=caller.sight, page_size=2, sort="created_at")
        found, token = [], None
        while token != "":
            page = await store.list_models(replace(query, page_token=token or ""))
            token = page.next_page_token
            assert len(page.items) == 2 or not token, "a page is full, or the last"
            found += [m.uid for m in page.items]
        assert sorted(found) == sorted(wanted), caller
        assert sum((await store.count_models(caller.sight)).values()) == len(wanted)
        events = await store.list_events(EventQuery(sight=caller.sight))
        operations = await store.list_operations(OperationQuery(sight=caller.sight))
        assert {e.model_uid for e in events.items} == {o.model_uid for o in operations.items} == set(wanted)


async def test_what_was_done_to_a_model_of_a_group_stays_with_the_group_when_it_is_deleted(store: SqlStore) -> None:
    model = await created(store, "secret", replace(SPEC, groups=("red",)))
    await store.commit(Change(before=model, after=None))
    assert await store.groups_of(model.uid) == {"red"}
    for groups, count in ((frozenset[str](), 0), (frozenset({"red"}), 1)):
        reads = Principal(
            name="p", kind=PrincipalKind.PERSON, grants=(Grant("default", Role.VIEWER),), groups=groups
        )  # fmt: skip
        assert len((await store.list_operations(OperationQuery(sight=reads.sight))).items) == count
