"""Transfers carried out for real, on both databases: from a source to a published version, whatever happens between."""

from __future__ import annotations

import asyncio
import io
import itertools
import tarfile
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import onnx
import pytest
import sqlalchemy as sa
from onnx import helper as f

from modelyard.control.ports import Idempotency
from modelyard.domain.errors import AlreadyExists, IdempotencyMismatch, InvalidRequest, NotFound, Refused, Unavailable
from modelyard.domain.model import Namespace
from modelyard.domain.registry import Framework, Identity, Notes, Signature, Tensor
from modelyard.domain.transfers import MAX_ATTEMPTS, Bump, Phase, Transfer, TransferState, take_up
from modelyard.registry import carrying, importing, imports
from modelyard.registry.carrying import Haul, Office
from modelyard.registry.room import NoSpace
from modelyard.registry.sources.patience import Lasting
from modelyard.store import SqlStore
from modelyard.store.tables import transfers
from tests.registry.carrier import NO_CONTENT, House, Origin, order
from tests.registry.shelves import ME
from tests.store.changes import EPOCH


@pytest.fixture
async def house(store: SqlStore, home: Path) -> AsyncIterator[House]:
    made = House(store, home, Origin())
    made.start()
    yield made
    made.origin.gate.set()
    await made.stop()


def codes(error: Any) -> set[tuple[str, str]]:
    return {(problem.path, problem.code) for problem in error.value.problems}


# ------------------------------------------------------------------------------------------- what is asked for


async def test_a_source_becomes_a_version_with_all_that_was_said_of_it(house: House) -> None:
    wanted = order(aliases=("stable",), notes=Notes(description="Better.", metrics={"a": 0.5}))
    begun = await house.begin(made=wanted)
    assert (begun.state, begun.actor, begun.reason) == (TransferState.QUEUED, ME.actor, ME.reason)
    over = await house.over(begun)
    assert (over.state, over.version, over.error) == (TransferState.SUCCEEDED, "1.0.0", None)
    version = await house.shelves.catalog.version("default", "pat", "1.0.0")
    assert version.identity.content.manifest == over.manifest
    assert version.identity.content.size == 7000
    assert (over.phase, over.done, over.total) == (None, 7000, 7000)
    assert (version.notes, version.published_by, version.reason) == (wanted.notes, ME.actor, ME.reason)
    assert (await house.shelves.catalog.alias("default", "pat", "stable")).version == "1.0.0"


async def test_an_onnx_model_says_itself_what_it_is_made_with_and_takes_where_the_order_does_not(house: House) -> None:
    tensors = [f.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 2]) for name in ("x", "y", "y")]
    for number, outputs in (("1.0.0", tensors[1:2]), ("1.1.0", tensors[1:])):
        graph = f.make_graph([f.make_node("Identity", ["x"], ["y"])], "g", tensors[:1], outputs)
        model = f.make_model(graph, opset_imports=[f.make_opsetid("", 17)], ir_version=9)
        house.origin.files = {f"m{number}.onnx": model.SerializeToString()}
        over = await house.over(await house.begin(made=order(number)))
        assert (over.state, over.error) == (TransferState.SUCCEEDED, None)
    said = (await house.shelves.catalog.version("default", "pat", "1.0.0")).identity
    assert said.framework == Framework(name="onnx", version="opset 17")
    ends = [Tensor(name=name, datatype="FP32", shape=(-1, 2)) for name in ("x", "y")]
    assert said.signature == Signature(inputs=(ends[0],), outputs=(ends[1],))
    assert over.version == "1.1.0"
    unsaid = (await house.shelves.catalog.version("default", "pat", "1.1.0")).identity
    assert unsaid.signature == Signature(), "two outputs of one name are no signature"
    own = Identity(content=NO_CONTENT, framework=Framework(name="mine"))
    await house.over(await house.begin(made=replace(order("2.0.0"), identity=own)))
    assert (await house.shelves.catalog.version("default", "pat", "2.0.0")).identity.framework == own.framework


async def test_patterns_choose_what_is_fetched_and_published(house: House) -> None:
    house.origin.files = {"a.txt": b"a", "b.txt": b"bb", "c.md": b"ccc"}
    over = await house.over(await house.begin(made=order(include=("*.txt",), exclude=("b*",))))
    version = await house.shelves.catalog.version("default", "pat", "1.0.0")
    assert (over.state, version.identity.content.files, house.origin.given) == (TransferState.SUCCEEDED, 1, 1)


async def test_an_archive_is_unpacked(house: House) -> None:
    house.origin.files = {"model.tar": tar({"a.txt": b"a", "b.txt": b"b"})}
    await house.over(await house.begin())
    assert (await house.shelves.catalog.version("default", "pat", "1.0.0")).identity.content.files == 2


async def test_what_may_not_be_in_a_version_fails_at_once_and_says_why(house: House) -> None:
    house.origin.files = {"evil.pkl": b"\x80\x04K\x01."}
    over = await house.over(await house.begin())
    assert (over.state, over.phase, over.attempt) == (TransferState.FAILED, Phase.SCANNING, 1)
    assert over.error is not None
    assert (over.error.code, "evil.pkl" in over.error.message) == ("invalid_request", True)
    with pytest.raises(NotFound):
        await house.shelves.catalog.get("default", "pat")
    trusted = await house.over(await house.begin(made=order(trust=("pickle",))))
    assert trusted.state is TransferState.SUCCEEDED


async def test_what_can_be_refused_is_refused_before_there_is_a_transfer(house: House) -> None:
    await house.shelves.register("pat")
    await house.shelves.publish("1.0.0")
    await house.shelves.register("gone")
    await house.shelves.catalog.delete("default", "gone", ME)
    for code, name, made in (
        ("version_exists", "pat", order()),
        ("model_deleted", "gone", order()),
        ("alias_reserved", "pat", order("2.0.0", aliases=("latest",))),
    ):
        with pytest.raises(Refused) as refused:
            await house.begin(name, made)
        assert refused.value.code == code
    with pytest.raises(InvalidRequest) as wrong:
        await house.begin("Not A Name", order("1.x", aliases=("ok", "^no"), include=("",)))
    assert {path for path, _ in codes(wrong)} == {"name", "version", "aliases[1]", "include[0]"}
    for made in (order(None), order("1.0.1", bump=Bump.MINOR)):
        with pytest.raises(InvalidRequest) as wrong:
            await house.begin(made=made)
        assert codes(wrong) == {("version", "required")}
    with pytest.raises(NotFound, match="no namespace 'nobody'"):
        await house.begin(namespace="nobody")
    assert not (await house.store.transfers.active("here"))


async def test_bumps_that_come_at_once_get_a_number_each(house: House) -> None:
    await house.shelves.register("pat")
    await house.shelves.publish("1.3.0")
    begun = [await house.begin(made=order(None, bump=Bump.MINOR)) for _ in range(4)]
    over = [await house.over(one) for one in begun]
    assert [one.state for one in over] == [TransferState.SUCCEEDED] * 4, over
    assert sorted(str(one.version) for one in over) == ["1.4.0", "1.5.0", "1.6.0", "1.7.0"]


async def test_a_repeated_request_leads_to_the_same_transfer(house: House) -> None:
    key = Idempotency(scope="s", key="k", fingerprint="f")
    first, second = await asyncio.gather(house.begin(idempotency=key), house.begin(idempotency=key))
    assert first.id == second.id
    await house.over(first)
    assert (await house.begin(idempotency=key)).id == first.id, "also when the version is there"
    with pytest.raises(IdempotencyMismatch):
        await house.begin(idempotency=Idempotency(scope="s", key="k", fingerprint="other"))
    house.origin.gate.clear()
    other = await house.begin(made=order("2.0.0"))
    with pytest.raises(AlreadyExists, match=other.id):
        await house.begin(made=order("2.0.0"))


# ------------------------------------------------------------------------------------------- failing


async def test_what_passes_is_tried_again_and_what_is_there_is_not_fetched_twice(house: House) -> None:
    house.origin.errors = [Unavailable("The host is away."), OSError(5, "Input/output error")]
    over = await house.over(await house.begin())
    assert (over.state, over.attempt, over.error) == (TransferState.SUCCEEDED, 3, None)


async def test_what_does_not_pass_fails_after_five_attempts(house: House) -> None:
    house.origin.errors = [Unavailable("The host is away.") for _ in range(20)]
    over = await house.over(await house.begin())
    assert (over.state, over.attempt, house.origin.fetches) == (TransferState.FAILED, MAX_ATTEMPTS, MAX_ATTEMPTS)
    assert over.error is not None
    assert (over.error.code, over.error.message) == ("unavailable", "The host is away.")


async def test_what_only_a_person_can_mend_fails_at_once(house: House) -> None:
    house.origin.errors = [Lasting("There are no credentials.")]
    over = await house.over(await house.begin())
    assert (over.state, over.attempt, house.origin.fetches) == (TransferState.FAILED, 1, 1)
    assert over.error is not None
    assert (over.error.code, over.error.message) == ("unavailable", "There are no credentials.")


async def test_a_fault_of_ours_fails_without_telling_what_is_nobodys_business(house: House) -> None:
    house.origin.errors = [KeyError("secret")]
    over = await house.over(await house.begin())
    assert over.error is not None
    assert (over.state, over.error.code, "secret" in over.error.message) == (
        TransferState.FAILED,
        "internal_error",
        False,
    )


# ------------------------------------------------------------------------------------------- cancelling


async def cancelled(house: House, transfer: Transfer) -> Transfer:
    """Cancelled, soon after the call, and nothing of it left."""
    began = time.monotonic()
    assert (await house.transfers.cancel(transfer.id, "admin")).state is TransferState.CANCELLED
    over = await house.over(transfer)
    await house.until(lambda: not house.carrier._hauls, "nothing under way")
    assert time.monotonic() - began < 3.0, "a second, and what a busy machine adds"
    assert over.state is TransferState.CANCELLED
    with pytest.raises(NotFound):
        await house.shelves.catalog.get("default", transfer.model)
    return over


async def test_a_fetch_is_cancelled(house: House) -> None:
    house.origin.gate.clear()
    begun = await house.begin()
    await house.reaches(begun, lambda t: t.phase is Phase.FETCHING, "fetching")
    await asyncio.to_thread(house.origin.reached.wait)
    await cancelled(house, begun)
    assert (await house.transfers.cancel(begun.id, "another")).state is TransferState.CANCELLED


async def test_a_fetch_that_hangs_is_cancelled_and_holds_nobody_up(house: House) -> None:
    """Nothing comes from the server, so nothing tells the fetch that it is to end."""
    hanging = threading.Event()

    def fetch(source: str, to: Path, *, picking: Any, progress: Any) -> str:
        to.mkdir(parents=True)
        hanging.wait(20)
        (to / "late.txt").write_text("too late")
        return source

    house.imports._fetch = fetch
    begun = [await house.begin(made=order(f"1.0.{n}")) for n in range(2)]
    waiting = await house.begin("other")
    for one in begun:
        await house.reaches(one, lambda t: t.phase is Phase.FETCHING, "fetching")
    house.imports._fetch = house.origin
    for one in begun:
        await house.transfers.cancel(one.id, "admin")
    assert (await house.over(waiting)).state is TransferState.SUCCEEDED
    hanging.set()
    await house.until(lambda: not house.staged, "no folder that is left")


async def test_what_is_being_unpacked_is_cancelled(house: House) -> None:
    house.origin.files = {"m.tar": tar({f"{n}.txt": b"x" * 100 for n in range(9000)})}
    house.origin.piece = 2**24
    begun = await house.begin()
    await house.reaches(begun, lambda t: t.phase is Phase.SCANNING, "scanning")
    await cancelled(house, begun)


async def test_a_push_is_cancelled(house: House) -> None:
    house.origin.files = {f"{n}.txt": str(n).encode() * 20_000 for n in range(300)}
    house.origin.piece, house.storage.pause = 2**24, 0.02
    begun = await house.begin()
    await house.reaches(begun, lambda t: t.phase is Phase.PUSHING, "pushing")
    await cancelled(house, begun)


async def test_one_that_waits_for_its_turn_is_cancelled(house: House) -> None:
    house.origin.gate.clear()
    running = [await house.begin(made=order(f"1.0.{n}")) for n in range(2)]
    waiting = await house.begin("other")
    for one in running:
        await house.reaches(one, lambda t: t.state is TransferState.RUNNING, "running")
    assert (await house.get(waiting)).state is TransferState.QUEUED
    await house.transfers.cancel(waiting.id, "admin")
    house.origin.gate.set()
    for one in running:
        assert (await house.over(one)).state is TransferState.SUCCEEDED
    assert (await house.get(waiting)).attempt == 0


async def test_what_is_over_is_not_cancelled(house: House) -> None:
    over = await house.over(await house.begin())
    with pytest.raises(Refused) as refused:
        await house.transfers.cancel(over.id, "admin")
    assert refused.value.code == "transfer_over"
    with pytest.raises(NotFound):
        await house.transfers.cancel("tr-none", "admin")


async def test_another_process_cancels_through_the_database(postgres_url: str, home: Path) -> None:
    """One that stands by answers, and the one that drives ends within a second or so."""
    store, away = await SqlStore.open(postgres_url), await SqlStore.open(postgres_url)
    house, standby = House(store, home, Origin()), House(away, home, Origin())
    standby.is_driving = False
    house.start()
    standby.start()
    house.origin.gate.clear()
    begun = await standby.begin()
    await house.reaches(begun, lambda t: t.state is TransferState.RUNNING, "taken up by the one that drives")
    waiting = asyncio.create_task(standby.transfers.wait(begun.id, 10))
    asked = time.monotonic()
    await standby.transfers.cancel(begun.id, "admin")
    await house.until(lambda: not house.carrier._hauls, "the end of it")
    assert time.monotonic() - asked < 3.0
    assert (await waiting).state is TransferState.CANCELLED
    for one in (house, standby):
        await one.stop()
        await one.store.close()
    assert standby.origin.fetches == 0


# ------------------------------------------------------------------------------------------- one process after another


async def test_a_process_that_ends_gives_back_and_the_next_goes_on_where_it_was(house: House) -> None:
    house.origin.files = {"a.txt": b"a" * 10_000}
    house.origin.pause = 0.02
    begun = await house.begin()
    await house.reaches(begun, lambda _: house.origin.given >= 3000, "some bytes")
    await house.stop()
    left = await house.get(begun)
    assert (left.state, left.attempt, left.claim) == (TransferState.QUEUED, 0, "")
    assert house.staged == [begun.id]
    house.start()
    over = await house.over(begun)
    assert (over.state, over.attempt) == (TransferState.SUCCEEDED, 1)
    assert house.origin.given == 10_000, "no byte was given twice"


async def test_what_a_killed_process_has_left_is_taken_up_and_its_rubbish_removed(store: SqlStore, home: Path) -> None:
    house = House(store, home, Origin())
    begun = await house.begin()
    dead = take_up(begun, "of a dead process", EPOCH)
    await store.transfers.write(begun, dead)
    (home / "transfers" / "tr-forgotten" / "fetched").mkdir(parents=True)
    house.start()
    over = await house.over(begun)
    assert (over.state, over.attempt) == (TransferState.SUCCEEDED, 2)
    assert house.staged == []
    await house.stop()


@pytest.mark.parametrize("phase", [Phase.FETCHING, Phase.SCANNING, Phase.PUSHING])
async def test_a_process_that_dies_in_any_phase_is_followed_by_one_that_moves_no_byte_twice(
    store: SqlStore, home: Path, phase: Phase
) -> None:
    """The first writes nothing more from a moment in that phase on, as one that was killed."""
    files = {"m.tar": tar({f"{n}.txt": str(n).encode() * 30_000 for n in range(100)})}
    first, second = House(store, home, Origin(files, piece=2**17)), House(store, home, Origin(files))
    first.origin.pause, first.storage.pause = (0.005, 0.02) if phase is not Phase.SCANNING else (0, 0)
    dying = Dying(store.transfers, phase)
    first.office.store = dying
    first.start()
    begun = await first.begin()
    await first.until(lambda: dying.is_dead, f"its death while {phase}")
    if phase is Phase.FETCHING:
        await first.until(lambda: first.origin.given >= 2**19, "some bytes")
    await first.stop()
    left = await first.get(begun)
    assert (left.state, left.phase, left.attempt) == (TransferState.RUNNING, phase, 1)
    second.start()
    over = await second.over(begun)
    assert (over.state, over.attempt, over.error) == (TransferState.SUCCEEDED, 2, None)
    assert first.origin.given + second.origin.given == len(files["m.tar"])
    version = await second.shelves.catalog.version("default", "pat", "1.0.0")
    assert version.identity.content.files == 100
    await second.stop()


class Dying:
    """A store of transfers that takes nothing more once its process has died in a phase."""

    def __init__(self, store: Any, phase: Phase) -> None:
        self._store, self._phase = store, phase
        self.shared, self.is_dead = False, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, before: Transfer, after: Transfer) -> None:
        if self.is_dead:
            raise Unavailable("This process is dead.")
        await self._store.write(before, after)
        self.is_dead = after.phase is self._phase and before.state is TransferState.RUNNING


async def test_what_was_published_before_a_kill_is_not_published_once_more(store: SqlStore, home: Path) -> None:
    """Killed between its publication and the note of it: no second version is made of it."""
    house = House(store, home, Origin())
    house.start()
    begun = await house.begin(made=order(None, bump=Bump.MAJOR))
    over = await house.over(begun)
    await house.stop()
    assert over.version == "1.0.0"
    before_its_end = sa.update(transfers).values(state="running", phase="publishing", claim="dead", ended_at=None)
    await store._database.write(lambda c: c.execute(before_its_end))
    house.start()
    assert (await house.over(begun)).version == "1.0.0"
    assert [v.version for v in (await house.shelves.catalog.versions("default", "pat")).items] == ["1.0.0"]
    assert house.origin.fetches == 1
    await house.stop()


async def test_one_that_was_taken_over_writes_nothing_more(house: House) -> None:
    house.origin.gate.clear()
    begun = await house.begin()
    running = await house.reaches(begun, lambda t: t.state is TransferState.RUNNING, "running")
    taken = take_up(running, "of another process", EPOCH)
    await house.store.transfers.write(running, taken)
    house.origin.gate.set()
    await house.until(lambda: not any(t.claim == running.claim for t, _, _ in house.carrier._hauls.values()), "its end")
    found = await house.get(begun)
    assert found.claim != running.claim


# ------------------------------------------------------------------------------------------- turns and progress


async def test_two_at_a_time_and_namespaces_take_turns(house: House) -> None:
    await house.store.create_namespace(Namespace(name="team", created_at=EPOCH))
    house.origin.gate.clear()
    many = [await house.begin(f"m{n}") for n in range(4)]
    team = await house.begin(namespace="team")
    await house.until(lambda: house.origin.fetches == 2, "two fetches")
    await asyncio.sleep(0.05)
    states = [(await house.get(one)).state for one in (*many, team)]
    assert states.count(TransferState.RUNNING) == 2
    assert states[-1] is TransferState.QUEUED
    house.origin.gate.set()
    over = [await house.transfers.wait(one.id, 10) for one in (*many, team)]
    began = sorted(over, key=lambda t: t.ended_at or EPOCH)
    assert team.id in [t.id for t in began[:4]], "not behind all of the others"


async def test_progress_is_monotone_within_each_phase(house: House) -> None:
    house.origin.files = {f"{n}.bin.txt": bytes([65 + n]) * 100_000 for n in range(20)}
    house.origin.pause, house.origin.piece, house.storage.pause = 0.035, 50_000, 0.06
    begun = await house.begin()
    seen: list[Transfer] = []
    while not seen or not seen[-1].is_over:
        seen.append(await house.get(begun))
        await asyncio.sleep(0.02)
    phases = [t.phase for t in seen if t.phase]
    assert phases == sorted(phases, key=list(Phase).index)
    for phase in (Phase.FETCHING, Phase.PUSHING):
        done = [t.done for t in seen if t.phase is phase]
        assert done == sorted(done)
        assert max(done) > 0, phase
        assert {t.total for t in seen if t.phase is phase and t.done} == {2_000_000}
    assert any(t.rate > 0 and t.seconds_left is not None for t in seen if t.phase is Phase.FETCHING)


async def test_how_far_it_is_is_written_once_a_second_at_most(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """In virtual time: the work moves the clock by a tenth of a second a step, and waits until it was looked at."""
    monkeypatch.setattr(carrying, "_BEAT", 0.001)
    await house.stop()
    begun = await house.begin()
    now, looked = 0.0, threading.Semaphore(0)
    written: list[float] = []

    class Store:
        shared = False

        async def write(self, before: Transfer, after: Transfer) -> None:
            written.append(now)
            await house.store.transfers.write(before, after)

    def seconds() -> float:
        looked.release()
        return now

    taken = take_up(begun, "c", EPOCH)
    await house.store.transfers.write(begun, taken)
    office = Office(store=Store(), transfers=house.transfers, clock=house.shelves.clock, seconds=seconds)  # type: ignore[arg-type]
    haul = Haul(office, taken, house.home / "transfers" / begun.id)

    def work(progress: Any) -> None:
        nonlocal now
        for step in range(100):
            now = step / 10
            progress(step * 1000, 100_000)
            while looked.acquire(blocking=False):
                pass
            looked.acquire()
            looked.acquire()

    await haul.run(Phase.FETCHING, work)
    assert len(written) <= 11, "entering the phase, and once a second for ten"
    assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(written))
    assert 9000 <= haul.transfer.rate <= 11_000


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------- what must not end it


async def test_a_disk_that_was_full_keeps_no_transfer_from_running_later(
    store: SqlStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails, sweep = [OSError(28, "No space left on device")] * 2, carrying._sweep

    def sweeping(folder: Path, keep: set[str]) -> None:
        if fails:
            raise fails.pop()
        sweep(folder, keep)

    monkeypatch.setattr(carrying, "_sweep", sweeping)
    house = House(store, home, Origin())
    house.start()
    assert (await house.over(await house.begin())).state is TransferState.SUCCEEDED
    assert not fails
    await house.stop()


@pytest.mark.parametrize("where", ["fetching", "scanning", "pushing"])
async def test_a_transfer_for_which_there_is_no_space_fails_for_good_and_says_what_to_do(
    house: House, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "fetching":
        house.origin.errors = [OSError(28, "No space left on device", "/somewhere")]
    elif where == "scanning":
        house.origin.files = {"model.tar": tar({"a.txt": bytes(2**20)})}
        monkeypatch.setattr(importing, "watched", full)
    else:
        monkeypatch.setattr(imports, "watched", full)
    over = await house.over(await house.begin())
    assert over.error is not None
    assert (over.state, over.attempt, over.phase, over.error.code) == (TransferState.FAILED, 1, where, "no_space")
    assert "modelyard gc" in over.error.message


def full(*_: Any) -> Any:
    raise NoSpace


async def test_one_that_may_have_published_is_not_cancelled_and_says_so_when_it_fails(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is published, and then the database is away each time the alias is to move."""
    fails = asyncio.Event()

    async def move(*_: Any) -> None:
        fails.set()
        raise Unavailable("The database is away.")

    monkeypatch.setattr(house.shelves.catalog, "move_alias", move)
    house.carrier._pause = 0.3
    begun = await house.begin(made=order(aliases=("stable",)))
    await fails.wait()
    waiting = await house.reaches(begun, lambda t: t.state is TransferState.QUEUED, "the next attempt")
    assert (waiting.phase, bool(waiting.manifest)) == (Phase.PUBLISHING, True)
    with pytest.raises(Refused) as refused:
        await house.transfers.cancel(begun.id, "me")
    assert refused.value.code == "publishing"
    house.carrier._pause = 0.01
    over = await house.over(begun)
    assert (over.state, over.attempt) == (TransferState.FAILED, MAX_ATTEMPTS)
    assert over.error is not None
    assert over.error.message.startswith("pat@1.0.0 is published, but stable does not point there.")
    await house.shelves.catalog.version("default", "pat", "1.0.0")


async def test_one_that_cannot_know_whether_it_has_published_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = house.shelves.catalog.publish

    async def published(*given: Any) -> None:
        await publish(*given)
        raise Unavailable("The database is away.")

    monkeypatch.setattr(house.shelves.catalog, "publish", published)
    over = await house.over(await house.begin())
    assert over.error is not None
    assert over.error.message == "pat@1.0.0 may be published already. The database is away."


async def test_a_source_that_gives_nothing_for_long_holds_no_place_for_ever(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "_SILENCE", 0.1)
    house.origin.gate.clear()
    begun = await house.begin()
    failed = await house.reaches(begun, lambda t: t.error is not None, "the end of an attempt")
    assert failed.error is not None
    assert (failed.error.code, "Nothing has come" in failed.error.message) == ("unavailable", True)
    monkeypatch.setattr(carrying, "_SILENCE", 60.0)
    house.origin.gate.set()
    assert (await house.over(begun)).state is TransferState.SUCCEEDED


async def test_transfers_that_were_over_long_ago_are_forgotten(house: House) -> None:
    old, young = [await house.over(await house.begin(made=order(version))) for version in ("1.0.0", "2.0.0")]
    house.origin.gate.clear()
    active = await house.begin(made=order("3.0.0"))
    now = datetime.now(UTC)
    for one, days in ((old, 31), (young, 29), (active, 40)):
        there = await house.get(one)
        ended = None if one is active else now - timedelta(days=days)
        await house.store._database.write(
            lambda c, there=there, ended=ended: c.execute(
                sa.update(transfers).where(transfers.c.id == there.id).values(ended_at=ended)
            )
        )
    await house.store.tidy()
    with pytest.raises(NotFound):
        await house.get(old)
    assert (await house.get(young)).state is TransferState.SUCCEEDED
    await house.get(active)
