"""The manager in virtual time: order, single flight, eviction, swaps, failures, the end."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.virtual import Fake, Thing, World, add, made, run

from modelyard.runtime import ModelManager, ModelUnavailable, ProgressiveLoadingConfig
from modelyard.runtime.errors import LoadFailure, RequestError
from modelyard.runtime.manager.entries import Loaded
from modelyard.runtime.manager.events import Event, Kind
from modelyard.runtime.manager.loaders import FromPath
from modelyard.runtime.manager.phases import Phase


def heard(manager: ModelManager) -> list[Event]:
    events: list[Event] = []
    manager.subscribe(events.append)
    return events


def broken(permanent: bool = False) -> LoadFailure:
    return LoadFailure("broken", "It is broken.", permanent=permanent)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_start_passes_through_its_phases_and_serves_the_critical_model_first() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, environment="production", max_parallel_loads=2)
        for name in ("a", "b", "c"):
            add(manager, Fake(world, name, seconds=10))
        add(manager, Fake(world, "critical", seconds=1), critical=True)
        events = heard(manager)
        async with manager.lifespan(None):
            assert manager.phase is Phase.MODELS_LOADING
            assert not manager.is_ready
            async with manager.use("critical") as model:
                assert model.name == "critical"
                assert now() == 1.0
            assert manager.phase is Phase.MODELS_READY
            assert world.together == [{"critical"}]
            await manager.wait("fully_ready")
            assert now() == 21.0
            assert manager.status()["progress"] == {"loaded": 4, "of": 4}
        assert manager.phase is Phase.STOPPED
        assert world.bytes == 0
        passed = [event.phase for event in events if event.kind is Kind.PHASE]
        assert passed == list(Phase)[1:]

    run(main())


def test_nothing_is_loaded_ahead_until_the_critical_model_was_used_or_its_head_start_is_over() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, environment="production", head_start=5)
        add(manager, Fake(world, "critical"), critical=True)
        add(manager, Fake(world, "other"))
        async with manager.lifespan(None):
            await manager.wait("fully_ready")
            assert now() == 7.0

    run(main())


def test_in_development_a_model_is_loaded_when_it_is_first_used_and_once_for_all_who_ask() -> None:
    async def main() -> None:
        world = World()
        manager = made(world)
        add(manager, Fake(world, "m", seconds=2))
        async with manager.lifespan(None):
            assert manager.phase is Phase.FULLY_READY
            await asyncio.sleep(5)
            assert world.loaded == []
            got = await asyncio.gather(*(manager.get("m") for _ in range(20)))
            assert world.loaded == ["m"]
            assert len(set(map(id, got))) == 1
            assert now() == 7.0

    run(main())


def test_a_caller_who_leaves_ends_neither_the_load_nor_what_others_wait_for() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, wait_timeout=1)
        add(manager, Fake(world, "m", seconds=2))
        async with manager.lifespan(None):
            leaving = asyncio.create_task(manager.get("m"))
            staying = asyncio.create_task(manager.get("m", timeout=9))
            await asyncio.sleep(0.5)
            leaving.cancel()
            with pytest.raises(ModelUnavailable) as caught:
                await manager.get("m")
            assert caught.value.code == "model_loading"
            assert caught.value.retry_after == 1.0
            assert (await staying).name == "m"
            assert manager.status()["models"]["m"]["uses"] == 0

    run(main())


def test_the_least_recently_used_makes_room_and_what_is_in_use_or_pinned_does_not() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, memory_budget=4)
        add(manager, Fake(world, "pinned"), pin=True)
        for name in ("a", "b", "c", "d"):
            add(manager, Fake(world, name))
        async with manager.lifespan(None):
            for name in ("pinned", "a", "b", "c"):
                await manager.get(name)
                await asyncio.sleep(1)
            async with manager.use("a"):
                await manager.get("d")
                states = {name: model["state"] for name, model in manager.status()["models"].items()}
                assert states == {"pinned": "ready", "a": "ready", "b": "unloaded", "c": "ready", "d": "ready"}
            assert world.most == 4
            assert manager.status()["memory"] == {"budget": 4, "used": 4}

    run(main())


def test_who_finds_everything_in_use_waits_until_something_is_given_back() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, memory_budget=1)
        add(manager, Fake(world, "a", free_seconds=1))
        add(manager, Fake(world, "b"))
        async with manager.lifespan(None):
            async with manager.use("a"):
                with pytest.raises(ModelUnavailable, match="waits for others"):
                    await manager.get("b", timeout=3)
                waiting = asyncio.create_task(manager.get("b"))
                await asyncio.sleep(1)
                assert not waiting.done()
            given_back = now()
            await waiting
            assert now() == given_back + 2.0
            assert world.most == 1

    run(main())


def test_a_model_over_the_budget_is_refused_and_says_what_to_do() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, memory_budget=4 * 2**20)
        add(manager, Fake(world, "pinned", 2 * 2**20), pin=True)
        add(manager, Fake(world, "large", 3 * 2**20))
        add(manager, Fake(world, "surprise", 5 * 2**20, known=False))
        async with manager.lifespan(None):
            await manager.get("pinned")
            with pytest.raises(ModelUnavailable, match="of which 2 MiB stay taken: raise memory_budget") as caught:
                await manager.get("large")
            assert (caught.value.code, caught.value.retry_after) == ("over_budget", None)
            # What nobody could know before is found out, and not kept.
            with pytest.raises(ModelUnavailable, match="surprise takes 5 MiB"):
                await manager.get("surprise")
            await asyncio.sleep(1)
            assert world.bytes == 2 * 2**20

    run(main())


def test_what_is_loaded_ahead_and_finds_no_room_is_left_for_its_first_use() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, environment="production", memory_budget=2)
        for name in ("a", "b", "c"):
            add(manager, Fake(world, name))
        async with manager.lifespan(None):
            await manager.wait("fully_ready")
            assert world.loaded == ["a", "b"]
            await manager.get("c")
            assert manager.phase is Phase.FULLY_READY

    run(main())


def test_a_failed_model_is_tried_again_ever_more_slowly_while_others_serve() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, environment="production")
        add(manager, Fake(world, "bad", seconds=0, failures=[broken()] * 3), critical=True)
        add(manager, Fake(world, "good"))
        async with manager.lifespan(None):
            await asyncio.sleep(2)
            assert (await manager.get("good")).name == "good"
            assert manager.phase is Phase.MODELS_LOADING
            status = manager.status()
            assert status["degraded"] == status["missing"] == ["bad"]
            assert status["models"]["bad"]["error"]["failures"] == 2
            with pytest.raises(ModelUnavailable, match=r"bad could not be loaded: It is broken\.") as caught:
                await manager.get("bad")
            assert caught.value.code == "broken"
            assert caught.value.retry_after == pytest.approx(1.0)
            await manager.wait("fully_ready")
            assert now() == 7.0  # after 1, 2 and 4 seconds
            assert manager.status()["degraded"] == []

    run(main())


def test_what_cannot_get_better_by_itself_is_tried_again_only_by_request() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, environment="production")
        add(manager, Fake(world, "m", failures=[broken(permanent=True)]))
        async with manager.lifespan(None):
            await asyncio.sleep(1000)
            with pytest.raises(ModelUnavailable) as caught:
                await manager.get("m")
            assert caught.value.retry_after is None
            await manager.load("m")
            assert manager.phase is Phase.FULLY_READY

    run(main())


@pytest.mark.parametrize(("on_timeout", "live"), [("serve", True), ("fail", False)])
def test_a_start_that_takes_too_long_goes_on_or_fails_and_says_who_is_late(on_timeout: str, live: bool) -> None:
    async def main() -> None:
        world = World()
        manager = made(world, environment="production", startup_timeout=5, on_timeout=on_timeout)
        add(manager, Fake(world, "hung", seconds=1e6), critical=True)
        add(manager, Fake(world, "other"))
        events = heard(manager)
        async with manager.lifespan(None):
            await asyncio.sleep(4)
            assert (manager.late, world.loaded) == ((), [])
            await asyncio.sleep(3)
            assert manager.late == ("hung",)
            assert manager.is_live is live
            # What is left is loaded all the same.
            assert world.loaded == ["other"]
            assert [event.message for event in events if event.kind is Kind.TIMED_OUT] == ["Not ready after 5 s: hung."]

    run(main())


def test_a_swap_serves_the_old_one_until_the_new_one_is_there_and_frees_it_when_it_is_unused() -> None:
    async def main() -> None:
        world = World()
        manager = made(world)
        add(manager, Fake(world, "m", seconds=2))
        async with manager.lifespan(None), manager.use("m") as old:
            swap = asyncio.create_task(manager.load("m"))
            await asyncio.sleep(1)
            assert await manager.get("m") is old
            await swap
            new = await manager.get("m")
            assert new is not old
            assert old.is_there
        assert not old.is_there
        assert world.bytes == 0

    run(main())


def test_a_broken_change_keeps_the_old_one_and_says_so() -> None:
    async def main() -> None:
        world = World()
        fake = Fake(world, "m")
        manager = made(world)
        add(manager, fake)
        events = heard(manager)
        async with manager.lifespan(None):
            old = await manager.get("m")
            fake.failures.append(broken(permanent=True))
            with pytest.raises(ModelUnavailable, match="It is broken"):
                await manager.load("m")
            assert await manager.get("m") is old
            assert [event.message for event in events if event.kind is Kind.KEPT] == ["It is broken."]
            await manager.load("m")
            assert await manager.get("m") is not old
            assert "error" not in manager.status()["models"]["m"]

    run(main())


def test_a_change_during_a_load_is_loaded_too_and_waited_for() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, max_parallel_loads=2)
        add(manager, Fake(world, "m", seconds=2))
        async with manager.lifespan(None):
            first = asyncio.create_task(manager.get("m"))
            await asyncio.sleep(1)
            await manager.load("m")
            assert now() == 3.0
            assert (await first).is_there
            await asyncio.sleep(1)
            assert world.bytes == 1

    run(main())


def test_what_a_model_depends_on_is_loaded_before_it_and_stays_as_long() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, environment="production", memory_budget=2)
        add(manager, Fake(world, "words"))
        with pytest.raises(ValueError, match="depends on letters: register that first"):
            add(manager, Fake(world, "n"), depends_on=["letters"])
        add(manager, Fake(world, "m"), depends_on=["words"], critical=True)
        add(manager, Fake(world, "other"))
        async with manager.lifespan(None):
            await manager.wait("models_ready")
            assert world.loaded == ["words", "m"]
            with pytest.raises(RequestError, match="cannot be unloaded: m needs it"):
                await manager.unload("words")
            with pytest.raises(ModelUnavailable):
                await manager.get("other", timeout=5)
        assert world.bytes == 0

    run(main())


def test_one_that_is_unloaded_stays_out_until_it_is_loaded_by_request() -> None:
    async def main() -> None:
        world = World()
        manager = made(world)
        add(manager, Fake(world, "m", free_seconds=1))
        async with manager.lifespan(None):
            await manager.get("m")
            await manager.unload("m")
            assert world.bytes == 0
            with pytest.raises(ModelUnavailable, match="was unloaded"):
                await manager.get("m")
            await manager.load("m")
            await manager.get("m")
            await manager.unregister("m")
            with pytest.raises(RequestError) as caught:
                await manager.get("m")
            assert caught.value.status == 404

    run(main())


def test_the_end_waits_for_what_is_in_use_but_not_for_ever() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, drain_timeout=3, max_parallel_loads=2)
        add(manager, Fake(world, "m"))
        add(manager, Fake(world, "slow", seconds=100))

        async def use(seconds: float) -> None:
            async with manager.use("m") as model:
                await asyncio.sleep(seconds)
                assert model.is_there

        await manager.start()
        waiting = asyncio.create_task(manager.get("slow"))
        users = [asyncio.create_task(use(seconds)) for seconds in (2.0, 50.0)]
        await asyncio.sleep(1.5)
        began = now()
        await manager.stop()
        assert now() == began + 3.0
        with pytest.raises(ModelUnavailable, match="is ending"):
            await waiting
        with pytest.raises(ModelUnavailable, match="is ending"):
            await manager.get("m")
        await asyncio.gather(*users)
        await asyncio.sleep(0)
        assert world.bytes == 0

    run(main())


def test_a_lifespan_of_ones_own_is_inside_and_gives_its_state() -> None:
    async def main() -> None:
        world, seen = World(), list[str]()
        manager = made(world)

        @asynccontextmanager
        async def mine(app: str) -> Any:
            seen.append(f"{app} in {manager.phase}")
            yield {"mine": 1}
            seen.append(f"{app} in {manager.phase}")

        async with manager.around(mine)("app") as state:
            assert state == {"mine": 1}
        assert seen == ["app in fully_ready", "app in fully_ready"]
        assert manager.phase is Phase.STOPPED

    run(main())


def test_nothing_can_be_used_before_the_start_and_what_is_not_valid_is_refused() -> None:
    async def main() -> None:
        manager = ModelManager(ProgressiveLoadingConfig(environment="production"))
        manager.register("m", lambda: None)
        with pytest.raises(RuntimeError, match=r"FastAPI\(lifespan=manager\.lifespan\)"):
            await manager.get("m")
        for name, how, says in (
            ("no/name", {}, "is no name"),
            ("m", {}, "There is a model 'm' already"),
            ("n", {"engine": "onnx"}, "engine, options and trusted are for"),
        ):
            with pytest.raises(ValueError, match=says):
                manager.register(name, lambda: None, **how)
        with pytest.raises(ValueError, match=r"production \(told by: config\) does not allow"):
            manager.register("n", engine="mock")
        with pytest.raises(ValueError, match=r"source is a path \(str or Path\) or a callable that loads it, not 3"):
            manager.register("n", 3)  # type: ignore[arg-type]
        await manager.start()
        await manager.stop()
        with pytest.raises(RuntimeError, match="was started before"):
            await manager.start()
        with pytest.raises(RuntimeError, match="stopped before it was fully_ready"):
            await manager.wait("fully_ready")
        await manager.wait("stopped")
        with pytest.raises(ValueError, match=r"no phase 'ready'; there are init, core_ready, .*, stopped"):
            await manager.wait("ready")

    run(main())


def test_where_nothing_is_loaded_ahead_no_start_is_late() -> None:
    async def main() -> None:
        manager = made(World(), environment="production", preload=[], startup_timeout=1)
        manager.register("m", lambda: None)
        events = heard(manager)
        async with manager.lifespan(None):
            assert manager.phase is Phase.FULLY_READY
            await asyncio.sleep(5)
            assert Kind.TIMED_OUT not in {event.kind for event in events}

    run(main())


def test_who_waits_for_what_is_not_tried_again_by_itself_is_told_so() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, environment="production")
        add(manager, Fake(world, "base", failures=[broken(permanent=True)]), preload=False)
        add(manager, Fake(world, "top"), depends_on=["base"])
        add(manager, Fake(world, "slow", seconds=10))
        async with manager.lifespan(None):
            await manager.wait("models_ready")
            said = r"does not become fully_ready by itself\. base could not be loaded: It is broken\.$"
            for _ in range(2):  # while it is waited for, and from then on
                with pytest.raises(RuntimeError, match=said):
                    await manager.wait("fully_ready")
            await manager.load("base")
            await manager.load("top")
            await manager.unload("slow")
            with pytest.raises(RuntimeError, match="slow was unloaded"):
                await manager.wait("fully_ready")
            await manager.load("slow")
            await manager.wait("fully_ready")

    run(main())


def test_a_model_that_is_to_be_loaded_ahead_has_to_be_registered_when_it_starts() -> None:
    async def main() -> None:
        world = World()
        manager = made(world, preload=["m", "typo"])
        add(manager, Fake(world, "m"))
        with pytest.raises(ValueError, match="preload: there is no model typo; there are m"):
            await manager.start()
        add(manager, Fake(world, "typo"))
        await manager.start()
        await manager.wait("fully_ready")
        await manager.stop()

    run(main())


def test_a_folder_is_one_model_as_serve_has_it(home: Path) -> None:
    manager = made(World())
    for name, files, engine, path in (
        ("onnx", ["model.onnx", "notes.txt"], "onnx", "model.onnx"),
        ("code", ["model.py", "model.onnx"], "python", ""),
        ("versions", ["1/model.onnx", "12/model.onnx"], "onnx", "12/model.onnx"),
    ):
        for file in files:
            (home / name / file).parent.mkdir(parents=True, exist_ok=True)
            (home / name / file).touch()
        manager.register(name, str(home / name))
        loader = manager.loading.entries[name].loader
        assert isinstance(loader, FromPath)
        assert (loader.engine, loader.path) == (engine, home / name / path)
    with pytest.raises(LoadFailure, match=r"is not one model: it has no model\.py"):
        manager.register("many", home)


# ------------------------------------------------------------------ random histories

NAMES = ("a", "b", "c", "d", "e")
Act = tuple[str, str, float, float]
acts: st.SearchStrategy[list[Act]] = st.lists(
    st.tuples(
        st.sampled_from(["use", "use", "use", "use", "cancel", "load", "unload"]),
        st.sampled_from(NAMES),
        st.sampled_from([0.0, 0.3, 1.0, 2.5]),
        st.sampled_from([0.0, 0.5, 1.0, 4.0]),
    ),
    max_size=25,
)


@settings(max_examples=150)
@given(
    acts=acts,
    sizes=st.lists(st.integers(1, 3), min_size=5, max_size=5),
    failing=st.lists(st.sampled_from(NAMES), max_size=4),
    budget=st.integers(3, 7),
    slots=st.integers(1, 3),
    production=st.booleans(),
)
def test_whatever_happens_nothing_in_use_goes_and_the_budget_is_kept(
    acts: list[Act], sizes: list[int], failing: list[str], budget: int, slots: int, production: bool
) -> None:
    run(_history(acts, sizes, failing, budget, slots, production))


async def _history(
    acts: list[Act], sizes: list[int], failing: list[str], budget: int, slots: int, production: bool
) -> None:
    world = World()
    manager = made(
        world, environment="production" if production else "development", memory_budget=budget,
        max_parallel_loads=slots, wait_timeout=60, startup_timeout=None if not production else 1000,
    )  # fmt: skip
    for name, size in zip(NAMES, sizes, strict=True):
        failures = [broken() for failed in failing if failed == name]
        add(
            manager, Fake(world, name, size, free_seconds=0.3, failures=failures),
            critical=name == "a", pin=name == "b" and budget > 5, depends_on=["c"] if name == "d" else [],
        )  # fmt: skip
    outcomes: dict[str, int] = defaultdict(int)

    async def use(name: str, seconds: float) -> None:
        try:
            async with manager.use(name) as model:
                assert isinstance(model, Thing)
                assert (model.name, model.is_there) == (name, True)
                await asyncio.sleep(seconds)
                assert model.is_there, "freed while it was in use"
                outcomes["used"] += 1
        except ModelUnavailable:
            outcomes["refused"] += 1

    async def by_request(what: Callable[[str], Any], name: str) -> None:
        try:
            # Two that each hold what the other needs wait until one of those who ask gives up.
            async with asyncio.timeout(60):
                await what(name)
        except (RequestError, TimeoutError):
            outcomes["refused"] += 1

    tasks: list[asyncio.Task[None]] = []
    await manager.start()
    for what, name, seconds, pause in acts:
        match what:
            case "use":
                tasks.append(asyncio.create_task(use(name, seconds)))
            case "cancel" if tasks:
                tasks[len(name) % len(tasks)].cancel()
            case "load":
                tasks.append(asyncio.create_task(by_request(manager.load, name)))
            case "unload":
                tasks.append(asyncio.create_task(by_request(manager.unload, name)))
        await asyncio.sleep(pause)
        assert world.most <= budget
        assert all(world.loading.count(name) <= 2 for name in NAMES)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
    await asyncio.sleep(50)
    for entry in manager.loading.entries.values():
        assert entry.loaded is None or entry.loaded.uses == holders(manager, entry.loaded)
    await manager.stop()
    assert world.most <= budget
    assert world.bytes == 0
    assert world.loading == []


def holders(manager: ModelManager, loaded: Loaded) -> int:
    """By how many others it is held because they depend on it."""
    entries = manager.loading.entries.values()
    return sum(
        one is loaded
        for entry in entries
        for holds in (entry.loaded and entry.loaded.holds, entry.job and entry.job.holds)
        for one in holds or ()
    )
