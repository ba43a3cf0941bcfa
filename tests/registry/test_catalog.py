"""What becomes of registered models, versions and aliases, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelyard.domain import commands
from modelyard.domain.errors import AlreadyExists, EtagMismatch, InvalidRequest, NotFound, Refused
from modelyard.domain.registry import About, Content, Framework, Identity, Lineage, Notes, Signature, Tensor, Version
from modelyard.registry.catalog import By, Catalog
from modelyard.registry.ports import RegisteredModelQuery
from modelyard.store import SqlStore
from tests.registry.shelves import ME, Shelves, content, digest
from tests.store.changes import asked

IDENTITY = Identity(
    content=content(7),
    framework=Framework(name="onnx", version="1.17"),
    signature=Signature(
        inputs=(Tensor(name="x", datatype="FP32", shape=(-1, 64)),), outputs=(Tensor(name="y", datatype="INT64"),)
    ),
    lineage=Lineage(
        parent="1.3.0", dataset="digits/5", training_run="run-9", code_revision="abc123", source="s3://b/m"
    ),
    dependencies=("numpy>=2",),
    licence="Apache-2.0",
)
NOTES = Notes(description="Better.", metrics={"accuracy": 0.97}, labels={"team": "vision"}, card="# Pat\n\nÖ")


async def refused(code: str, call: Any) -> str:
    with pytest.raises(Refused) as error:
        await call
    assert error.value.code == code
    return error.value.message


# ------------------------------------------------------------------------------------------- models


async def test_a_model_is_registered_once_and_is_as_it_was_described(shelves: Shelves) -> None:
    about = About(description="Reads.", series="pats", task="ocr", licence="MIT", labels={"team": "vision", "ä": "ß"})
    with pytest.raises(InvalidRequest):
        await shelves.catalog.register("default", "pat", about, ME)
    about = replace(about, labels={"team": "vision"})
    made = await shelves.catalog.register("default", "pat", about, ME)
    assert (made.about, made.version, made.latest, made.deleted_at) == (about, 1, None, None)
    assert await shelves.catalog.get("default", "pat") == made
    with pytest.raises(AlreadyExists, match="registered already"):
        await shelves.register()
    with pytest.raises(NotFound, match="no namespace 'nobody'"):
        await shelves.register(namespace="nobody")
    with pytest.raises(NotFound, match="no registered model 'tap'"):
        await shelves.catalog.get("default", "tap")
    with pytest.raises(NotFound, match="no namespace 'nobody'"):
        await shelves.catalog.get("nobody", "pat")


async def test_all_that_is_wrong_is_said_at_once(shelves: Shelves) -> None:
    about = About(series="Not So", description="x" * 5000, licence="a\nb", labels={"!": "x", "k": "v" * 300})
    with pytest.raises(InvalidRequest) as error:
        await shelves.catalog.register("default", "Not A Name", about, ME)
    assert [p.path for p in error.value.problems] == [
        "name", "description", "series", "licence", "labels.!", "labels.k",
    ]  # fmt: skip
    await shelves.register()
    tensors = (
        Tensor(name="x", datatype="FLOAT", shape=(-2,)),
        Tensor(name="x", datatype="FP32", shape=(1,) * 65),
        Tensor(name=" ", datatype="FP32"),
    )
    wrong = Identity(
        content=Content(manifest="md5:1", size=-1, files=0),
        framework=Framework(name="ONNX", version="x" * 300),
        signature=Signature(inputs=tensors),
        lineage=Lineage(parent="pat@stable", dataset="\x00", source="https://host/a?sig=b"),
        dependencies=("", "ok"),
        trust=("code", "everything"),
    )
    notes = Notes(metrics={"a b": 1.0, "loss": float("nan")}, card="ö" * 200_000)
    with pytest.raises(InvalidRequest) as error:
        await shelves.catalog.publish("default", "pat", "1.0", wrong, notes, ME)
    assert [p.path for p in error.value.problems] == [
        "version", "manifest", "size", "files", "signature.inputs", "signature.inputs[0].datatype",
        "signature.inputs[0].shape", "signature.inputs[1].shape", "signature.inputs[2].name", "lineage.parent",
        "lineage.source", "lineage.dataset", "dependencies[0]", "trust[1]", "framework.name", "framework.version",
        "metrics.a b", "metrics.loss", "card",
    ]  # fmt: skip


async def test_what_is_said_of_a_model_is_changed_from_what_was_seen(shelves: Shelves) -> None:
    made = await shelves.register(description="old")

    def better(about: About) -> About:
        return replace(about, description="new", labels={"a": "b"})

    changed = await shelves.catalog.describe("default", "pat", better, replace(ME, if_match=made.version))
    assert (changed.about.description, changed.version) == ("new", 2)
    assert changed.updated_at > made.updated_at
    with pytest.raises(EtagMismatch, match='"1"'):
        await shelves.catalog.describe("default", "pat", better, replace(ME, if_match=1))
    again = await shelves.catalog.describe("default", "pat", better, ME)
    assert again == changed, "nothing has changed, so nothing is written"
    with pytest.raises(InvalidRequest):
        await shelves.catalog.describe("default", "pat", lambda about: replace(about, series="A"), ME)
    found = await shelves.catalog.list(RegisteredModelQuery(labels={"a": "b"}))
    assert [m.name for m in found.items] == ["pat"]
    assert [e.type for e in await shelves.events()] == ["ModelRegistered", "RegisteredModelChanged"]


async def test_a_deleted_model_is_restored_with_all_that_it_had(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", "1.1.0")
    await shelves.move("stable", "1.0.0")
    deleted = await shelves.catalog.delete("default", "pat", ME, timedelta(days=2))
    assert deleted.deleted_at is not None
    assert deleted.purge_at == deleted.deleted_at + timedelta(days=2)
    assert await shelves.catalog.delete("default", "pat", ME) == deleted, "a second one changes nothing"
    assert (await shelves.catalog.list(RegisteredModelQuery())).items == ()
    assert (await shelves.catalog.list(RegisteredModelQuery(deleted=True))).items == (deleted,)
    with pytest.raises(AlreadyExists, match="Restore it"):
        await shelves.register()
    for call in (
        shelves.publish("2.0.0"),
        shelves.move("stable", "1.1.0"),
        shelves.catalog.describe("default", "pat", lambda about: replace(about, task="x"), ME),
        shelves.catalog.delete_version("default", "pat", "1.0.0", ME),
        shelves.catalog.restore_version("default", "pat", "1.0.0", ME),
        shelves.catalog.roll_back_alias("default", "pat", "stable", ME),
        shelves.catalog.remove_alias("default", "pat", "stable", ME),
    ):
        assert "can be restored until" in await refused("model_deleted", call)
    with pytest.raises(NotFound, match="is deleted"):
        await shelves.resolve("1.0.0")
    restored = await shelves.catalog.restore("default", "pat", ME)
    assert (restored.deleted_at, restored.purge_at, restored.latest) == (None, None, "1.1.0")
    assert await shelves.resolve("stable") == "1.0.0"
    assert await shelves.catalog.restore("default", "pat", ME) == restored


@pytest.mark.parametrize("grace", [timedelta(seconds=-1), timedelta(days=366)])
async def test_a_grace_that_is_none_is_refused(shelves: Shelves, grace: timedelta) -> None:
    await shelves.register()
    with pytest.raises(InvalidRequest, match="grace"):
        await shelves.catalog.delete("default", "pat", ME, grace)


@pytest.mark.parametrize(
    "source", ["pat", "pat@latest", "pat@1.0.0", "pat@1", "pat@stable"]
)  # fmt: skip
async def test_what_is_served_is_not_deleted(shelves: Shelves, source: str) -> None:
    await shelves.register()
    await shelves.register("pat-2")
    await shelves.publish("1.0.0")
    await shelves.publish("1.0.0", name="pat-2")
    await shelves.move("stable", "1.0.0")
    await shelves.serve("reader", source)
    assert "served by reader:" in await refused("in_use", shelves.catalog.delete("default", "pat", ME))
    if source == "pat@stable":
        assert "reader" in await refused("in_use", shelves.catalog.remove_alias("default", "pat", "stable", ME))
    else:
        await shelves.catalog.remove_alias("default", "pat", "stable", ME)
        message = await refused("in_use", shelves.catalog.delete_version("default", "pat", "1.0.0", ME))
        assert "served by reader:" in message
    await shelves.catalog.delete_version("default", "pat-2", "1.0.0", ME)
    await shelves.catalog.delete("default", "pat-2", ME)


async def test_a_version_that_nobody_comes_to_is_deleted_while_others_are_served(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", "1.1.0", "2.0.0")
    await shelves.serve("one", "pat@^1")
    await shelves.serve("file", "file:///pat")
    await shelves.catalog.delete_version("default", "pat", "1.0.0", ME)
    await shelves.catalog.delete_version("default", "pat", "2.0.0", ME)
    await refused("in_use", shelves.catalog.delete_version("default", "pat", "1.1.0", ME))


async def test_what_a_source_was_resolved_to_is_not_deleted_after_its_alias_has_moved(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", "1.1.0", "1.2.0")
    await shelves.move("stable", "1.0.0")
    model = await shelves.serve("reader", "pat@stable", "1.0.0")
    await shelves.move("stable", "1.1.0")
    for number in ("1.0.0", "1.1.0"):
        await refused("in_use", shelves.catalog.delete_version("default", "pat", number, ME))
    # The newest revision is of another version, and the first one serves still.
    spec = replace(model.spec, source="pat@1.2.0", artifact=None)
    change = commands.update(model, spec, asked())
    assert change.after is not None
    status = replace(change.after.status, target=model.status.target)
    await shelves.store.commit(replace(change, after=replace(change.after, status=status)))
    for number in ("1.0.0", "1.2.0"):
        assert "reader" in await refused("in_use", shelves.catalog.delete_version("default", "pat", number, ME))


# ------------------------------------------------------------------------------------------- versions


async def test_a_version_is_kept_as_it_was_published(shelves: Shelves) -> None:
    await shelves.register()
    version, new = await shelves.catalog.publish("default", "pat", "1.4.2", IDENTITY, NOTES, ME)
    assert new
    assert (version.identity, version.notes, version.edits) == (IDENTITY, NOTES, 0)
    assert (version.published_by, version.reason) == ("tester", "a test")
    assert await shelves.catalog.version("default", "pat", "1.4.2") == version
    (listed,) = (await shelves.catalog.versions("default", "pat")).items
    assert listed == replace(version, notes=replace(NOTES, card="")), "a list leaves out the cards"
    with pytest.raises(NotFound, match=r"no version '1\.4\.3'; the latest is 1\.4\.2"):
        await shelves.catalog.version("default", "pat", "1.4.3")


async def test_the_same_version_may_be_published_again_and_no_other_under_its_number(shelves: Shelves) -> None:
    await shelves.register()
    first, _ = await shelves.catalog.publish("default", "pat", "1.4.2", IDENTITY, NOTES, ME)
    again, new = await shelves.catalog.publish("default", "pat", "1.4.2", IDENTITY, NOTES, By(actor="other"))
    assert (again, new) == (first, False)
    told = shelves.told
    for identity, notes, word in (
        (replace(IDENTITY, content=content(8)), NOTES, "other bytes"),
        (replace(IDENTITY, licence="MIT"), NOTES, "another licence"),
        (IDENTITY, replace(NOTES, description="Best."), "another description"),
        (replace(IDENTITY, framework=None), replace(NOTES, card=""), "another framework, card"),
    ):
        call = shelves.catalog.publish("default", "pat", "1.4.2", identity, notes, ME)
        assert word in await refused("version_exists", call)
    assert shelves.told == told
    assert await shelves.catalog.version("default", "pat", "1.4.2") == first


async def test_a_version_has_the_licence_that_its_model_had_unless_it_says_otherwise(shelves: Shelves) -> None:
    await shelves.register(licence="MIT")
    assert (await shelves.publish("1.0.0")).identity.licence == "MIT"
    assert (await shelves.publish("1.1.0", licence="Apache-2.0")).identity.licence == "Apache-2.0"
    await shelves.catalog.describe("default", "pat", lambda about: replace(about, licence="GPL-3.0"), ME)
    assert (await shelves.publish("1.0.0")).identity.licence == "MIT", "the same as it was published"


async def test_only_what_is_said_of_a_version_changes(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.catalog.publish("default", "pat", "1.4.2", IDENTITY, NOTES, ME)

    def better(notes: Notes) -> Notes:
        return replace(notes, metrics={**notes.metrics, "f1": 1}, card="")

    changed = await shelves.catalog.annotate("default", "pat", "1.4.2", better, replace(ME, if_match=0))
    assert changed == await shelves.catalog.version("default", "pat", "1.4.2")
    assert (changed.identity, changed.edits, changed.notes.card) == (IDENTITY, 1, "")
    assert changed.notes.metrics == {"accuracy": 0.97, "f1": 1}
    with pytest.raises(EtagMismatch):
        await shelves.catalog.annotate("default", "pat", "1.4.2", better, replace(ME, if_match=0))
    assert (await shelves.catalog.annotate("default", "pat", "1.4.2", better, ME)).edits == 1
    with pytest.raises(NotFound):
        await shelves.catalog.annotate("default", "pat", "9.9.9", better, ME)


async def test_latest_follows_the_versions_by_itself(shelves: Shelves) -> None:
    await shelves.register()
    assert await shelves.latest() is None
    for published, latest in (
        ("1.0.0-rc.1", "1.0.0-rc.1"),
        ("1.0.0-rc.10", "1.0.0-rc.10"),
        ("1.0.0-rc.9", "1.0.0-rc.10"),
        ("0.9.0", "0.9.0"),
        ("1.0.0", "1.0.0"),
        ("0.9.1", "1.0.0"),
        ("1.10.0", "1.10.0"),
        ("1.9.0", "1.10.0"),
        ("2.0.0-rc.1", "1.10.0"),
    ):
        await shelves.publish(published)
        assert await shelves.latest() == latest == await shelves.resolve("latest") == await shelves.resolve("latest")
    for deleted, latest in (
        ("1.10.0", "1.9.0"), ("1.0.0", "1.9.0"), ("1.9.0", "0.9.1"), ("0.9.1", "0.9.0"), ("0.9.0", "2.0.0-rc.1"),
    ):  # fmt: skip
        await shelves.catalog.delete_version("default", "pat", deleted, ME)
        assert await shelves.latest() == latest
    await shelves.catalog.restore_version("default", "pat", "1.9.0", ME)
    assert await shelves.latest() == "1.9.0"
    for number in ("1.9.0", "2.0.0-rc.1", "1.0.0-rc.1", "1.0.0-rc.10", "1.0.0-rc.9"):
        await shelves.catalog.delete_version("default", "pat", number, ME)
    assert await shelves.latest() is None
    with pytest.raises(NotFound, match="no version is published yet"):
        await shelves.resolve("latest")
    moves = (await shelves.catalog.history("default", "pat", "latest", page_size=100)).items
    assert [m.number for m in moves] == list(range(len(moves), 0, -1))
    assert [m.before for m in moves[:-1]] == [m.after for m in moves[1:]]
    assert (moves[0].kind, moves[0].after, moves[-1].before) == ("remove", None, None)
    assert {(m.actor, m.reason) for m in moves} == {("tester", "a test")}


async def test_a_deleted_version_is_not_found_by_anything_and_comes_back(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", "1.1.0")
    deleted = await shelves.catalog.delete_version("default", "pat", "1.1.0", replace(ME, if_match=0))
    assert deleted.purge_at is not None
    for pick, found in (("^1", "1.0.0"), ("1", "1.0.0"), ("latest", "1.0.0")):
        assert await shelves.resolve(pick) == found
    with pytest.raises(NotFound):
        await shelves.resolve("1.1.0")
    await refused("version_deleted", shelves.move("stable", "1.1.0"))
    assert "restored" in await refused("version_deleted", shelves.publish("1.1.0"))
    await refused("version_exists", shelves.publish("1.1.0", manifest=99))
    annotated = shelves.catalog.annotate("default", "pat", "1.1.0", lambda notes: replace(notes, card="x"), ME)
    await refused("version_deleted", annotated)
    assert [v.version for v in (await shelves.catalog.versions("default", "pat")).items] == ["1.0.0"]
    assert [v.version for v in (await shelves.catalog.versions("default", "pat", deleted=True)).items] == ["1.1.0"]
    assert await shelves.catalog.delete_version("default", "pat", "1.1.0", ME) == deleted
    restored = await shelves.catalog.restore_version("default", "pat", "1.1.0", ME)
    assert (restored.deleted_at, restored.purge_at) == (None, None)
    assert await shelves.catalog.restore_version("default", "pat", "1.1.0", ME) == restored
    assert await shelves.resolve("^1") == "1.1.0"


async def test_a_pick_that_is_none_is_refused_and_one_that_means_nothing_is_not_found(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", "2.0.0-rc.1")
    assert await shelves.resolve("=1.0.0") == await shelves.resolve("*") == "1.0.0"
    assert await shelves.resolve(">=2.0.0-0") == "2.0.0-rc.1"
    for pick in ("^2", "1.0.1", "stable", ">1"):
        with pytest.raises(NotFound, match=r"the latest version is 1\.0\.0"):
            await shelves.resolve(pick)
    for pick in ("", "1.0.0+b", "A B", "^"):
        with pytest.raises(InvalidRequest) as error:
            await shelves.resolve(pick)
        assert [p.path for p in error.value.problems] == ["pick"]


# ------------------------------------------------------------------------------------------- aliases


async def test_an_alias_moves_with_its_history_and_rolls_back_one_step(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", "1.1.0")
    with pytest.raises(NotFound):
        await shelves.catalog.alias("default", "pat", "stable")
    assert await shelves.move("stable", "1.0.0") == "1.0.0"
    await refused("no_earlier_version", shelves.catalog.roll_back_alias("default", "pat", "stable", ME))
    assert await shelves.move("stable", "1.1.0") == "1.1.0"
    assert await shelves.move("stable", "1.1.0") == "1.1.0", "which is no move"
    why = By(actor="nurse", reason="it lies")
    rolled = await shelves.catalog.roll_back_alias("default", "pat", "stable", why)
    assert (rolled.version, rolled.moves, rolled.moved_by, rolled.reason) == ("1.0.0", 3, "nurse", "it lies")
    assert rolled == await shelves.catalog.alias("default", "pat", "stable")
    assert (await shelves.catalog.roll_back_alias("default", "pat", "stable", ME)).version == "1.1.0"
    first = await shelves.catalog.history("default", "pat", "stable", page_size=3)
    rest = await shelves.catalog.history("default", "pat", "stable", page_size=3, page_token=first.next_page_token)
    history = [(m.number, m.kind, m.before, m.after, m.actor) for m in (*first.items, *rest.items)]
    assert history == [
        (4, "rollback", "1.0.0", "1.1.0", "tester"),
        (3, "rollback", "1.1.0", "1.0.0", "nurse"),
        (2, "move", "1.0.0", "1.1.0", "tester"),
        (1, "move", None, "1.0.0", "tester"),
    ]
    assert [a.alias for a in await shelves.catalog.aliases("default", "pat")] == ["latest", "stable"]


async def test_an_alias_that_was_removed_keeps_its_history_and_can_come_back(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0")
    await shelves.move("stable", "1.0.0")
    await shelves.catalog.remove_alias("default", "pat", "stable", ME)
    with pytest.raises(NotFound):
        await shelves.catalog.remove_alias("default", "pat", "stable", ME)
    with pytest.raises(NotFound):
        await shelves.catalog.roll_back_alias("default", "pat", "never", ME)
    back = await shelves.catalog.roll_back_alias("default", "pat", "stable", ME)
    assert (back.version, back.moves) == ("1.0.0", 3)
    kinds = [m.kind for m in (await shelves.catalog.history("default", "pat", "stable")).items]
    assert kinds == ["rollback", "remove", "move"]


async def test_the_registrys_own_alias_is_nobodys_to_move(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", "1.1.0")
    await refused("alias_reserved", shelves.move("latest", "1.0.0"))
    await refused("alias_reserved", shelves.catalog.remove_alias("default", "pat", "latest", ME))
    await refused("alias_reserved", shelves.catalog.roll_back_alias("default", "pat", "latest", ME))
    for alias in ("1.0.0", "x", "Stable", "^1", "", "a/b"):
        with pytest.raises(InvalidRequest) as error:
            await shelves.move(alias, "1.0.0")
        assert [p.path for p in error.value.problems] == ["alias"]
    with pytest.raises(NotFound):
        await shelves.move("stable", "3.0.0")


async def test_a_move_may_say_where_the_alias_has_to_be(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", "1.1.0", "1.2.0")
    with pytest.raises(EtagMismatch, match=r"nowhere, not at 1\.0\.0"):
        await shelves.move("stable", "1.1.0", expected="1.0.0")
    await shelves.move("stable", "1.0.0", expected=None)
    with pytest.raises(EtagMismatch, match=r"at 1\.0\.0, not nowhere"):
        await shelves.move("stable", "1.1.0", expected=None)
    await shelves.move("stable", "1.1.0", expected="1.0.0")
    by = By(actor="tester", if_match=1)
    with pytest.raises(EtagMismatch):
        await shelves.catalog.move_alias("default", "pat", "stable", "1.2.0", by)
    await shelves.catalog.move_alias("default", "pat", "stable", "1.2.0", replace(by, if_match=2))


async def test_what_an_alias_means_is_not_deleted(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", "1.1.0")
    await shelves.move("stable", "1.0.0")
    await shelves.move("golden", "1.0.0")
    message = await refused("in_use", shelves.catalog.delete_version("default", "pat", "1.0.0", ME))
    assert "golden, stable" in message
    await shelves.catalog.delete_version("default", "pat", "1.1.0", ME)
    assert await shelves.latest() == "1.0.0", "latest alone keeps nothing"


async def test_of_many_moves_at_once_each_follows_the_one_before(shelves: Shelves, other: SqlStore) -> None:
    await shelves.register()
    numbers = [f"1.{minor}.0" for minor in range(12)]
    await shelves.publish(*numbers)
    catalogs = (shelves.catalog, Catalog(other.catalog, shelves.clock, lambda: None))
    await asyncio.gather(
        *(catalogs[i % 2].move_alias("default", "pat", "stable", n, ME) for i, n in enumerate(numbers))
    )  # fmt: skip
    moves = (await shelves.catalog.history("default", "pat", "stable")).items
    assert sorted(str(m.after) for m in moves) == sorted(numbers)
    assert [m.before for m in moves[:-1]] == [m.after for m in moves[1:]]
    assert await shelves.resolve("stable") == moves[0].after


async def test_of_many_that_expect_the_same_one_moves(shelves: Shelves, other: SqlStore) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", *(f"1.{minor}.0" for minor in range(1, 9)))
    await shelves.move("stable", "1.0.0")
    catalogs = (shelves.catalog, Catalog(other.catalog, shelves.clock, lambda: None))
    calls = (
        catalogs[minor % 2].move_alias("default", "pat", "stable", f"1.{minor}.0", ME, "1.0.0") for minor in range(1, 9)
    )
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Alias"] + ["EtagMismatch"] * 7


async def test_of_many_that_publish_a_number_at_once_one_decides_what_it_is(shelves: Shelves, other: SqlStore) -> None:
    await shelves.register()
    catalogs = (shelves.catalog, Catalog(other.catalog, shelves.clock, lambda: None))
    calls = (
        catalogs[i % 2].publish("default", "pat", "1.0.0", Identity(content=content(i // 2)), Notes(), ME)
        for i in range(8)
    )
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    done = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
    assert [new for _, new in done].count(True) == 1
    assert len(done) == 2, "and the same bytes once more"
    assert len({version.identity.content.manifest for version, _ in done}) == 1


# ------------------------------------------------------------------------------------------- upkeep


async def test_what_is_purged_is_gone_and_its_numbers_stay_taken(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", manifest=1)
    await shelves.publish("1.1.0", manifest=2)
    await shelves.publish("1.2.0", manifest=1)
    await shelves.catalog.delete_version("default", "pat", "1.1.0", ME, timedelta(hours=1))
    await shelves.catalog.delete_version("default", "pat", "1.0.0", ME, timedelta(hours=1))
    assert await shelves.catalog.purge() == []
    assert await shelves.store.catalog.manifests_in_use() == {digest(1), digest(2)}
    shelves.now += timedelta(hours=1)
    assert await shelves.catalog.purge() == [digest(2)], "the other bytes are named still"
    assert await shelves.catalog.purge() == []
    assert await shelves.store.catalog.manifests_in_use() == {digest(1)}
    with pytest.raises(NotFound):
        await shelves.catalog.restore_version("default", "pat", "1.1.0", ME)
    assert "other bytes and deleted" in await refused("version_exists", shelves.publish("1.1.0", manifest=3))
    await shelves.publish("1.1.0", manifest=2)
    assert await shelves.resolve("1.1") == "1.1.0"

    await shelves.catalog.delete("default", "pat", ME, timedelta(0))
    assert set(await shelves.catalog.purge()) == {digest(1), digest(2)}
    with pytest.raises(NotFound):
        await shelves.catalog.get("default", "pat")
    await shelves.register()
    for number in ("1.0.0", "1.1.0", "1.2.0"):
        await refused("version_exists", shelves.publish(number, manifest=9))
    await shelves.publish("1.3.0", manifest=9)
    gone = [(e.type, e.data.get("version")) for e in await shelves.events() if e.actor == "controller"]
    assert gone == [("VersionPurged", "1.1.0"), ("VersionPurged", "1.0.0"), ("RegisteredModelPurged", None)]


async def test_a_rollback_to_what_is_purged_says_so(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", "1.1.0")
    await shelves.move("stable", "1.0.0")
    await shelves.move("stable", "1.1.0")
    await shelves.catalog.delete_version("default", "pat", "1.0.0", ME, timedelta(0))
    await refused("version_deleted", shelves.catalog.roll_back_alias("default", "pat", "stable", ME))
    await shelves.catalog.purge()
    await refused("version_purged", shelves.catalog.roll_back_alias("default", "pat", "stable", ME))


async def test_what_came_to_be_served_after_its_deletion_is_not_purged(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.register("tap")
    await shelves.publish("1.0.0", "1.1.0")
    await shelves.catalog.delete_version("default", "pat", "1.0.0", ME, timedelta(0))
    await shelves.catalog.delete("default", "tap", ME, timedelta(0))
    await shelves.serve("one", "pat@1.0.0")
    await shelves.serve("two", "tap")
    assert await shelves.catalog.purge() == []
    assert (await shelves.catalog.version("default", "pat", "1.0.0")).deleted_at is not None
    assert (await shelves.catalog.get("default", "tap")).deleted_at is not None


async def test_every_command_is_told_with_who_and_why(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", "1.1.0")
    await shelves.move("stable", "1.0.0")
    await shelves.catalog.annotate("default", "pat", "1.0.0", lambda n: replace(n, description="x"), ME)
    await shelves.catalog.delete_version("default", "pat", "1.1.0", ME)
    await shelves.catalog.restore_version("default", "pat", "1.1.0", ME)
    await shelves.catalog.remove_alias("default", "pat", "stable", ME)
    await shelves.catalog.delete("default", "pat", ME)
    await shelves.catalog.restore("default", "pat", ME)
    events = await shelves.events()
    assert [e.type for e in events] == [
        "ModelRegistered", "VersionPublished", "AliasMoved", "VersionPublished", "AliasMoved", "AliasMoved",
        "VersionChanged", "VersionDeleted", "AliasMoved", "VersionRestored", "AliasMoved", "AliasRemoved",
        "RegisteredModelDeleted", "RegisteredModelRestored",
    ]  # fmt: skip
    assert {(e.namespace, e.model, e.actor, e.reason) for e in events} == {("default", "pat", "tester", "a test")}
    assert len({e.model_uid for e in events}) == 1
    assert events[8].data == {"alias": "latest", "kind": "move", "from": "1.1.0", "to": "1.0.0"}
    assert shelves.told == 10


async def test_what_was_trusted_is_kept_with_the_version_and_told(shelves: Shelves) -> None:
    await shelves.register()
    made = await shelves.publish("1.0.0", manifest=1, trust=("code", "pickle"))
    assert made.identity.trust == ("code", "pickle")
    assert await shelves.catalog.version("default", "pat", "1.0.0") == made
    [told] = [event for event in await shelves.events() if event.type == "VersionPublished"]
    assert told.data == {"version": "1.0.0", "manifest": digest(1), "trust": ["code", "pickle"]}
    with pytest.raises(Refused, match="another trust"):
        await shelves.publish("1.0.0", manifest=1)


# ------------------------------------------------------------------------------------------- accuracy


async def publish_measured(shelves: Shelves, number: str, drop: float, limit: float = 0.01) -> Version:
    made = Identity(content=content(int(drop * 1000)), lineage=Lineage(parent="1.0.0"))
    notes = Notes(metrics={"accuracy_drop": drop, "accuracy_drop_limit": limit})
    version, _ = await shelves.catalog.publish("default", "pat", number, made, notes, ME)
    return version


async def test_an_alias_moves_to_a_version_that_loses_too_much_only_by_force_and_with_a_reason(
    shelves: Shelves,
) -> None:
    await shelves.register()
    await shelves.publish("1.0.0")
    await shelves.move("stable", "1.0.0")
    await publish_measured(shelves, "1.0.1-int8", 0.05)
    await publish_measured(shelves, "1.0.1-fp16", 0.01)
    said = await refused("accuracy_drop", shelves.move("stable", "1.0.1-int8"))
    assert "it is worse than its original by 0.05, past the limit of 0.01" in said
    assert await shelves.move("stable", "1.0.1-fp16") == "1.0.1-fp16", "to the limit is not past it"
    by = By(actor="tester")
    with pytest.raises(InvalidRequest) as unsaid:
        await shelves.catalog.move_alias("default", "pat", "stable", "1.0.1-int8", by, force=True)
    assert [problem.path for problem in unsaid.value.problems] == ["reason"]
    assert await shelves.move("stable", "1.0.1-int8", force=True) == "1.0.1-int8"
    event = (await shelves.events())[-1]
    assert (event.data["forced"], event.reason) == (True, "a test")
    assert event.message == (
        "pat@stable is now 1.0.1-int8, although it is worse than its original by 0.05, past the limit of 0.01."
    )
    assert await shelves.move("stable", "1.0.1-int8") == "1.0.1-int8", "it is there already"
    moves = (await shelves.catalog.history("default", "pat", "stable")).items
    assert (moves[0].after, moves[0].reason) == ("1.0.1-int8", "a test")


async def test_what_loses_too_much_is_a_pre_release_that_nobody_gets_by_itself(shelves: Shelves) -> None:
    await shelves.register()
    await publish_measured(shelves, "0.9.0-int8", 0.5)
    assert await shelves.latest() is None, "though it is the only one"
    await shelves.publish("1.0.0")
    said = await refused("accuracy_drop", publish_measured(shelves, "1.1.0", 0.05))
    assert "Publish it as a pre-release (1.1.0-int8" in said
    await publish_measured(shelves, "1.1.0-int8", 0.05)
    assert (await shelves.latest(), await shelves.resolve("^1")) == ("1.0.0", "1.0.0")
    await shelves.catalog.delete_version("default", "pat", "1.0.0", ME)
    assert await shelves.latest() is None
    await shelves.catalog.delete_version("default", "pat", "1.1.0-int8", ME)
    await shelves.catalog.restore_version("default", "pat", "1.1.0-int8", ME)
    assert await shelves.latest() is None
    await shelves.catalog.restore_version("default", "pat", "1.0.0", ME)
    assert await shelves.latest() == "1.0.0"
    await publish_measured(shelves, "1.0.1", 0.001)
    assert await shelves.latest() == "1.0.1"
