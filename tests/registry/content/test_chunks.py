"""Where parts are cut, and what a root stands for."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.registry.content import cuts
from modelyard.registry.content.chunks import CHUNK, Chunks, Hasher, Read
from modelyard.registry.content.cuts import cut
from tests.registry.content.making import noise

MIB = 2**20
sizes = st.one_of(st.integers(0, 3 * MIB), st.sampled_from([1, 2**16, 2**16 + 1, MIB - 1, MIB, MIB + 1, 2 * MIB]))
# Random, constant, and of a period: the last two may have no mark at all, or one everywhere.
content = st.builds(
    lambda seed, period, size: (noise(seed, period) * (size // period + 1))[:size],
    st.integers(0, 9999),
    st.sampled_from([1, 7, 100_003, 4 * MIB]),
    sizes,
)


def reader(data: bytes) -> Read:
    return lambda offset, size: data[offset : offset + size]


def pieces(data: bytes) -> Sequence[bytes]:
    ends = [0, *itertools.accumulate(cut(reader(data), len(data)))]
    return [data[first:last] for first, last in itertools.pairwise(ends)]


@settings(deadline=None, max_examples=60)
@given(content)
def test_no_chunk_is_longer_than_1_mib_and_only_the_last_shorter_than_64_kib(data: bytes) -> None:
    lengths = cut(reader(data), len(data))
    assert sum(lengths) == len(data)
    assert all(2**16 <= length <= MIB for length in lengths[:-1])
    assert all(0 < length <= MIB for length in lengths[-1:])


@settings(deadline=None, max_examples=20)
@given(content)
def test_a_boundary_depends_on_nothing_but_the_bytes_since_the_one_before_it(data: bytes) -> None:
    lengths = cut(reader(data), len(data))
    start = 0
    for index, length in enumerate(lengths):
        assert cut(reader(data[start:]), len(data) - start) == lengths[index:]
        start += length


def test_cuts_are_where_the_published_algorithm_has_them() -> None:
    data = noise(1, 700_000)
    words = [int.from_bytes(hashlib.sha256(b"modelyard gear %d" % value).digest()[:4]) for value in range(256)]
    lengths, length, hashed = [], 0, 0
    for byte in data:
        hashed = (hashed * 2 + words[byte]) % 2**32
        length += 1
        if (length >= 2**16 and hashed >> 14 == 0) or length == MIB:
            lengths.append(length)
            length = 0
    expected = [*lengths, length] if length else lengths
    assert len(expected) > 1
    assert cut(reader(data), len(data)) == expected


def test_cuts_never_move_from_one_release_to_the_next() -> None:
    assert cut(reader(noise(2, 2 * MIB)), 2 * MIB) == [92131, 434730, 141615, 888481, 202215, 337980]


def test_how_much_is_looked_at_at_once_moves_no_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    data = noise(3, 2 * MIB)
    expected = cut(reader(data), len(data))
    for block in (100_003, 2**16, MIB):
        monkeypatch.setattr(cuts, "_BLOCK", block)
        assert cut(reader(data), len(data)) == expected


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 9999), st.integers(0, 5 * MIB), st.integers(0, 200_000), st.integers(0, 100_000))
def test_an_edit_makes_no_more_than_two_chunks_new_beside_what_it_brings(
    seed: int, at: int, inserted: int, removed: int
) -> None:
    before = noise(seed, 5 * MIB)
    after = before[:at] + noise(seed + 1, inserted) + before[at + removed :]
    known = set(pieces(before))
    assert sum(len(piece) for piece in pieces(after) if piece not in known) <= inserted + 2 * CHUNK


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_other_cuts_of_the_same_bytes_have_another_root(first: list[int], second: list[int]) -> None:
    size = max(sum(first), sum(second))
    data = noise(4, size)

    def root(lengths: list[int]) -> tuple[tuple[int, ...], str]:
        whole = (*lengths, size - sum(lengths)) if sum(lengths) < size else tuple(lengths)
        starts = [0, *itertools.accumulate(whole)]
        digests = b"".join(hashlib.sha256(data[a:b]).digest() for a, b in itertools.pairwise(starts))
        return whole, Chunks(size, digests, whole).root

    (cut_one, root_one), (cut_two, root_two) = root(first), root(second)
    assert (root_one == root_two) == (cut_one == cut_two)


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 7])
@pytest.mark.parametrize("threads", [1, 3])
def test_chunks_are_hashed_as_sha256sum_would(size: int, threads: int) -> None:
    data = noise(5, size)
    with Hasher(threads) as hasher:
        aligned, by_content = hasher.aligned(reader(data), size), hasher.by_content(reader(data), size)
        assert hasher.whole(reader(data), size).result() == hashlib.sha256(data).hexdigest()
    for found in (aligned, by_content):
        assert found.check() is None
        assert found.count == len(list(found.bounds()))
        for index, (offset, length) in enumerate(found.bounds()):
            assert found.digest(index) == hashlib.sha256(data[offset : offset + length]).digest()
    expected = hashlib.sha256()
    for offset in range(0, size, MIB):
        piece = data[offset : offset + MIB]
        expected.update(hashlib.sha256(piece).digest() + len(piece).to_bytes(4))
    assert aligned.root == expected.hexdigest()


def test_what_fails_to_be_read_fails_the_hashing() -> None:
    def read(offset: int, size: int) -> bytes:
        raise OSError("gone")

    with Hasher() as hasher:
        with pytest.raises(OSError, match="gone"):
            hasher.aligned(read, 5 * MIB)
        with pytest.raises(OSError, match="gone"):
            hasher.by_content(read, 5 * MIB)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Chunks(5, b"x" * 31), "cut off"),
        (Chunks(5, b""), "add up"),
        (Chunks(0, b"x" * 32), "add up"),
        (Chunks(-1, b""), "add up"),
        (Chunks(2**70, b"x" * 32), "add up"),
        (Chunks(MIB + 1, b"x" * 32), "add up"),
        (Chunks(5, b"x" * 64, (5,)), "add up"),
        (Chunks(5, b"x" * 64, (5, 0)), "empty or too long"),
        (Chunks(5, b"x" * 64, (6, -1)), "empty or too long"),
        (Chunks(MIB + 1, b"x" * 32, (MIB + 1,)), "empty or too long"),
        (Chunks(6, b"x" * 32, (5,)), "add up"),
    ],
)
def test_what_cannot_be_the_chunks_of_any_part_is_known(found: Chunks, reason: str) -> None:
    assert reason in (found.check() or "")
