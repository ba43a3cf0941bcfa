"""Where work runs, in which order, and what becomes of work that is taken back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial

from modelyard.runtime.executor import QUICK, SMALL, Executor


async def run(executor: Executor, work: Callable[[], object], size: int = 0) -> object:
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    executor.submit(work, size, future.set_result)
    return await asyncio.wait_for(future, 30)


def quick() -> threading.Thread:
    return threading.current_thread()


async def make_quick(executor: Executor) -> None:
    """Run quick work until it runs on the loop."""
    while await run(executor, quick) is not threading.main_thread():
        pass


async def test_the_first_run_is_not_risked_on_the_loop() -> None:
    executor = Executor(1, asyncio.get_running_loop())
    assert await run(executor, quick) is not threading.main_thread()
    executor.close()


async def test_quick_work_comes_to_run_on_the_loop_and_slow_work_leaves_it() -> None:
    executor = Executor(1, asyncio.get_running_loop())
    await make_quick(executor)
    await run(executor, lambda: time.sleep(QUICK * 20))
    assert await run(executor, quick) is not threading.main_thread()
    executor.close()


async def test_work_that_may_not_use_the_loop_never_does_however_quick_it_is() -> None:
    executor = Executor(1, asyncio.get_running_loop(), on_loop=False)
    threads = [await run(executor, quick) for _ in range(200)]
    assert executor.mean_seconds < QUICK
    assert threading.main_thread() not in threads
    executor.close()


async def test_a_large_request_runs_in_a_thread_even_when_others_are_quick() -> None:
    executor = Executor(1, asyncio.get_running_loop())
    await make_quick(executor)
    assert await run(executor, quick, SMALL + 1) is not threading.main_thread()
    executor.close()


async def test_the_loop_runs_on_while_slow_work_runs() -> None:
    executor = Executor(1, asyncio.get_running_loop())
    release = threading.Event()
    slow = asyncio.create_task(run(executor, lambda: release.wait(30)))
    await asyncio.sleep(0)
    assert not slow.done()
    release.set()
    assert await slow is True
    executor.close()


async def test_no_more_runs_at_once_than_there_are_threads_and_in_the_order_they_came() -> None:
    executor = Executor(2, asyncio.get_running_loop())
    lock = threading.Lock()
    started: list[int] = []
    running = most = 0

    def work(number: int) -> None:
        nonlocal running, most
        with lock:
            started.append(number)
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1

    await asyncio.gather(*(run(executor, partial(work, n)) for n in range(40)))
    assert most == 2
    # Two threads may note their starts in either order, no more than that.
    assert all(abs(number - place) <= 1 for place, number in enumerate(started))
    executor.close()


async def test_work_taken_back_while_it_waits_is_never_run() -> None:
    executor = Executor(1, asyncio.get_running_loop())
    release = threading.Event()
    ran: list[str] = []
    blocker = asyncio.create_task(run(executor, lambda: release.wait(30)))
    await asyncio.sleep(0)
    take_back = executor.submit(lambda: ran.append("taken back"), 0, lambda _: ran.append("answered"))
    last = asyncio.create_task(run(executor, lambda: ran.append("last")))
    await asyncio.sleep(0)
    assert take_back is not None
    take_back()
    release.set()
    await asyncio.gather(blocker, last)
    assert ran == ["last"]
    executor.close()


async def test_work_taken_back_while_it_runs_is_not_answered() -> None:
    executor = Executor(1, asyncio.get_running_loop())
    running, release = threading.Event(), threading.Event()
    answered: list[object] = []

    def work() -> None:
        running.set()
        release.wait(30)

    take_back = executor.submit(work, 0, answered.append)
    await asyncio.to_thread(running.wait, 30)
    assert take_back is not None
    take_back()
    release.set()
    await run(executor, quick)
    assert answered == []
    executor.close()


async def test_a_queue_that_turns_quick_is_worked_off_on_the_loop_in_turns() -> None:
    executor = Executor(1, asyncio.get_running_loop())
    release = threading.Event()
    blocker = asyncio.create_task(run(executor, lambda: release.wait(30)))
    await asyncio.sleep(0)
    threads: list[object] = []
    for _ in range(500):
        executor.submit(quick, 0, threads.append)
    executor.mean_seconds = 0.0  # what came in was quick before the blocker

    def forget(_: object) -> None:
        executor.mean_seconds = 0.0

    blocker.add_done_callback(forget)
    release.set()
    await blocker
    await run(executor, quick)
    assert len(threads) == 500
    executor.close()


async def test_what_waits_is_run_though_the_work_before_it_breaks_its_word_and_raises() -> None:
    loop = asyncio.get_running_loop()
    told: list[object] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    executor = Executor(1, loop)
    fault = KeyError("no")

    def work() -> None:
        raise fault

    executor.submit(work, 0, told.append)
    await run(executor, quick)
    assert told == [fault]
    executor.close()
