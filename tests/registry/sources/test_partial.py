"""What is believed of a file that was begun: only what is there, whatever byte a process ended at."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.registry.sources.partial import Partial

SIZE = 200
BODY = bytes(range(SIZE))
RUNS = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 80)), max_size=8)


@contextmanager
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def begun(home: Path, tag: str = "a", size: int = SIZE) -> Partial:
    return Partial(home / "parts", home / "files" / "x.bin", "x.bin", tag=tag, size=size)


def assert_true_of(partial: Partial) -> None:
    """What it says is there is there, and the rest is missing."""
    missing = set[int]().union(*(range(start, end) for start, end in partial.missing()))
    assert len(missing) == SIZE - partial.there
    data = partial.data.read_bytes()
    assert all(data[at] == BODY[at] for at in range(SIZE) if at not in missing)


@given(RUNS, st.integers(0, 2000), st.integers(0, SIZE), st.lists(st.integers(0, SIZE - 1), max_size=3))
def test_what_is_said_to_be_there_is_whatever_was_cut_off_or_spoilt(
    runs: list[tuple[int, int]], journal: int, data: int, spoilt: list[int]
) -> None:
    with folder() as home:
        partial = begun(home)
        for start, size in runs:
            partial.write(start, BODY[start : start + size])
        left = partial.folder / "journal"
        left.write_bytes(left.read_bytes()[:journal])
        content = bytearray((partial.folder / "data").read_bytes()[:data])
        for at in spoilt:
            if at < len(content):
                content[at] ^= 1
        (partial.folder / "data").write_bytes(content)
        again = begun(home)
        assert_true_of(again)
        for start, end in list(again.missing()):
            again.write(start, BODY[start:end])
        once_more = begun(home)
        assert list(once_more.missing()) == []
        once_more.finish()
        assert (home / "files" / "x.bin").read_bytes() == BODY
        assert begun(home).is_done


@given(RUNS)
def test_what_was_written_is_there_for_the_next_one(runs: list[tuple[int, int]]) -> None:
    with folder() as home:
        partial = begun(home)
        for start, size in runs:
            partial.write(start, BODY[start : start + size])
        written = set[int]().union(*(range(start, min(start + size, SIZE)) for start, size in runs))
        again = begun(home)
        assert again.there == len(written)
        assert_true_of(again)


@pytest.mark.parametrize(("tag", "size"), [("b", SIZE), ("a", SIZE - 1), ("", SIZE)])
def test_another_content_begins_anew(tag: str, size: int) -> None:
    with folder() as home:
        begun(home).write(0, BODY)
        assert begun(home, tag, size).there == 0
        assert len(list((home / "parts").rglob("data"))) == 1, "what was of the other is gone"


def test_a_file_at_its_place_that_was_changed_there_is_no_longer_believed() -> None:
    with folder() as home:
        partial = begun(home)
        partial.write(0, BODY)
        partial.finish()
        partial.target.write_bytes(BODY[:-1] + b"?")
        again = begun(home)
        assert (again.there, again.is_done) == (0, False)
