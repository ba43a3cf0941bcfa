"""Instances' logs: tails, following, rotation, pruning, and lines that are no lines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.backends.local import LocalBackend
from modelyard.backends.local.logs import ENDED_KEPT, EXCERPT_BYTES, EXCERPT_LINE, MAX_LINE, ROTATED_KEPT, Logs
from modelyard.domain.model import ModelRef
from tests.backends.specs import log_lines, run, worker_spec
from tests.backends.waiting import gone

SMALL = 4096


@pytest.fixture
def logs(home: Path) -> Logs:
    return Logs(home / "logs", rotate_at=SMALL)


class Writer:
    """Appends to an instance's log as its processes do, and follows it."""

    def __init__(self, logs: Logs, ref: ModelRef, instance: str = "a0000000") -> None:
        self.live = True
        self._logs, self._ref, self._instance = logs, ref, instance
        self._fd = logs.open(ref, instance)

    def write(self, data: str | bytes) -> None:
        os.write(self._fd, data.encode() if isinstance(data, str) else data)

    def rotate(self) -> None:
        self._logs.rotate(self._ref, self._instance)

    def close(self) -> None:
        os.close(self._fd)
        self.live = False

    async def read(self, *, tail: int = 1000, follow: bool = False) -> list[str]:
        lines = self._logs.read(self._ref, self._instance, tail=tail, follow=follow, is_live=lambda _: self.live)
        async with asyncio.timeout(10):
            return [line.text async for line in lines]


async def test_a_tail_is_the_last_lines(logs: Logs, ref: ModelRef) -> None:
    writer = Writer(logs, ref)
    writer.write("".join(f"line {n}\n" for n in range(50_000)))
    assert await writer.read(tail=3) == ["line 49997", "line 49998", "line 49999"]
    assert await writer.read(tail=0) == []
    assert len(await writer.read(tail=60_000)) == 50_000
    writer.close()


async def test_a_tail_reaches_back_into_rotated_files(logs: Logs, ref: ModelRef) -> None:
    writer = Writer(logs, ref)
    for n in range(4):
        writer.write("".join(f"{n}.{m}\n" for m in range(1000)))
        writer.rotate()
    writer.write("now\n")
    lines = await writer.read(tail=1500)
    assert lines[-1] == "now"
    assert lines[0] == "2.501"
    writer.close()


async def test_rotation_keeps_a_bounded_number_of_files(logs: Logs, ref: ModelRef) -> None:
    writer = Writer(logs, ref)
    for _ in range(6):
        writer.write("x" * SMALL + "\n")
        writer.rotate()
    path = logs.path(ref, "a0000000")
    assert path.stat().st_size == 0
    assert len(list(path.parent.iterdir())) == 1 + ROTATED_KEPT
    assert all(file.stat().st_mode & 0o077 == 0 for file in path.parent.iterdir())
    writer.close()


async def test_a_short_log_is_not_rotated(logs: Logs, ref: ModelRef) -> None:
    writer = Writer(logs, ref)
    writer.write("short\n")
    writer.rotate()
    assert await writer.read() == ["short"]
    writer.close()


async def test_a_follower_misses_nothing_across_rotations(logs: Logs, ref: ModelRef) -> None:
    writer = Writer(logs, ref)
    writer.write("first\n")
    reading = asyncio.ensure_future(writer.read(follow=True))
    written = ["first"]
    for n in range(10):
        lines = [f"{n}.{m} {'x' * 40}" for m in range(40)]
        writer.write("\n".join(lines) + "\n")
        written += lines
        writer.rotate()
        await asyncio.sleep(0.15)
    writer.write("no line end")
    writer.close()
    assert await reading == [*written, "no line end"]


async def test_following_one_instance_ends_with_it(backend: LocalBackend, ref: ModelRef) -> None:
    instance = await run(backend, ref, worker_spec(say=["one", "two"]))
    lines = backend.logs(ref, instance.id, follow=True, tail=100)
    assert (await anext(lines)).text == "one"
    await backend.release(ref, 5)
    async with asyncio.timeout(10):
        rest = [line.text async for line in lines]
    assert rest[0] == "two"
    assert rest[-1] == "terminating"


async def test_following_a_model_shows_instances_that_come_later(backend: LocalBackend, ref: ModelRef) -> None:
    lines = backend.logs(ref, None, follow=True, tail=100)
    first = asyncio.ensure_future(anext(lines))
    instance = await run(backend, ref, worker_spec(say=["here I am"]))
    async with asyncio.timeout(10):
        line = await first
    assert (line.instance, line.text) == (instance.id, "here I am")
    await lines.aclose()


async def test_a_log_of_nobody_is_empty(backend: LocalBackend, ref: ModelRef) -> None:
    assert [line async for line in backend.logs(ref, "nobody00", follow=True, tail=10)] == []
    assert [line async for line in backend.logs(ref, None, follow=False, tail=10)] == []


async def test_bytes_that_are_no_text_are_shown_as_such(logs: Logs, ref: ModelRef) -> None:
    writer = Writer(logs, ref)
    writer.write(b"caf\xe9\r\nfine\n")
    assert await writer.read() == ["caf\ufffd", "fine"]
    writer.close()


async def test_a_very_long_line_is_cut(logs: Logs, ref: ModelRef) -> None:
    writer = Writer(logs, ref)
    writer.write("y" * (3 * MAX_LINE) + "\nend\n")
    long, end = await writer.read()
    assert end == "end"
    assert long == "y" * MAX_LINE + f" … ({2 * MAX_LINE} bytes more)"
    writer.close()


async def test_a_line_without_end_is_passed_on_in_pieces(logs: Logs, ref: ModelRef) -> None:
    writer = Writer(logs, ref)
    lines = logs.read(ref, "a0000000", tail=10, follow=True, is_live=lambda _: True)
    first = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    writer.write("z" * (2 * MAX_LINE))
    async with asyncio.timeout(10):
        assert (await first).text.startswith("zzz")
    await lines.aclose()
    writer.close()


async def test_a_log_that_cannot_be_opened_says_so_and_is_followed_once_it_can(
    logs: Logs, ref: ModelRef, no_descriptors: Callable[[], AbstractContextManager[None]]
) -> None:
    writer = Writer(logs, ref)
    writer.write("before\n")
    lines = logs.read(ref, "a0000000", tail=10, follow=True, is_live=lambda _: True)
    assert (await anext(lines)).text == "before"
    following = asyncio.ensure_future(anext(lines))
    with no_descriptors():
        assert "Too many open files" in " ".join(await writer.read())
        writer.write("meanwhile\n")
        await asyncio.wait((following,), timeout=0.3)
        assert not following.done()
    async with asyncio.timeout(10):
        assert (await following).text == "meanwhile"
    await lines.aclose()
    writer.close()


async def test_a_log_whose_disk_fails_says_so(logs: Logs, ref: ModelRef) -> None:
    """A folder in the log's place: it opens, and fails when it is read."""
    logs.path(ref, "a0000000").mkdir(parents=True)
    writer_lines = [line.text async for line in logs.read(ref, None, tail=5, follow=False, is_live=lambda _: False)]
    assert writer_lines == ["(the log cannot be read: Is a directory)"]


async def test_an_excerpt_for_a_failure_is_bounded(logs: Logs, ref: ModelRef) -> None:
    writer = Writer(logs, ref)
    writer.write("".join(f"{n:03} short\n" for n in range(100)))
    assert logs.excerpt(ref, "a0000000") == [f"{n:03} short" for n in range(80, 100)]
    writer.write("".join(f"{n:03} " + "\u00e9" * 20_000 + "\n" for n in range(100)))
    writer.write("the end\n")
    excerpt = logs.excerpt(ref, "a0000000")
    assert excerpt[-1] == "the end"
    assert excerpt[-2].startswith("099 \u00e9\u00e9\u00e9")
    assert sum(len(line.encode()) for line in excerpt) <= EXCERPT_BYTES
    assert all(len(line) < EXCERPT_LINE + 40 for line in excerpt)
    writer.close()


async def test_logs_of_ended_instances_are_pruned_to_the_last(logs: Logs, ref: ModelRef) -> None:
    for n in range(ENDED_KEPT + 5):
        writer = Writer(logs, ref, f"a{n:07}")
        writer.write("x" * SMALL)
        writer.rotate()
        writer.close()
        os.utime(logs.path(ref, f"a{n:07}"), (n, n))
    logs.prune(ref, live={"a0000000"})
    left = {path.name.split(".")[0] for path in logs.path(ref, "x").parent.iterdir()}
    assert left == {"a0000000", *(f"a{n:07}" for n in range(5, ENDED_KEPT + 5))}


async def test_a_new_model_does_not_show_a_deleted_namesakes_logs(backend: LocalBackend, ref: ModelRef) -> None:
    await run(backend, ref, worker_spec(say=["the old one's"]))
    await backend.release(ref, 0)
    await gone(backend, ref)
    await backend.remove(ref)
    namesake = replace(ref, uid="u2")
    await run(backend, namesake, worker_spec(say=["the new one's"]))
    assert (await log_lines(backend, namesake))[0] == "the new one's"
    assert not {"the old one's"} & set(await log_lines(backend, namesake))
    assert (await log_lines(backend, ref))[0] == "the old one's"


async def test_logs_of_deleted_namesakes_are_pruned_with_their_folders(logs: Logs, ref: ModelRef) -> None:
    for n in range(ENDED_KEPT + 5):
        old = replace(ref, uid=f"old{n}")
        Writer(logs, old, f"a{n:07}").close()
        os.utime(logs.path(old, f"a{n:07}"), (n, n))
    logs.prune(ref, live={"a0000002"})
    folders = {path.name for path in logs.path(ref, "x").parent.parent.iterdir()}
    assert folders == {"old2", *(f"old{n}" for n in range(5, ENDED_KEPT + 5))}


async def test_a_log_outlives_its_instance_and_its_model(backend: LocalBackend, ref: ModelRef) -> None:
    instance = await run(backend, ref, worker_spec(say=["kept"]))
    await backend.release(ref, 0)
    await gone(backend, ref)
    await backend.remove(ref)
    assert (await Writer(backend._logs, ref, instance.id).read(tail=100))[0] == "kept"
