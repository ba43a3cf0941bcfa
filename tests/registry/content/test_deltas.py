"""A chunk is told in few bytes and comes out as it was; what encodes none is refused, whatever it is."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.registry.content.chunks import CHUNK
from modelyard.registry.content.deltas import WIDTHS, Match, ReadBase, Undecodable, decode, encode, matched


def reading(data: bytes) -> ReadBase:
    return lambda offset, size: data[offset : offset + size]


def none(offset: int, size: int) -> bytes:
    raise AssertionError("there is no base")


def there_and_back(old: bytes, new: bytes, matches: tuple[Match, ...], width: int, chunk: int) -> int:
    """Bytes that it took to tell ``new`` by ``old``, in chunks of that size."""
    told = 0
    for offset in range(0, len(new), chunk):
        piece = new[offset : offset + chunk]
        encoded = encode(piece, offset, matches, reading(old), width)
        assert decode(encoded, len(piece), reading(old)) == piece
        told += len(encoded)
    return told


@given(st.data())
@settings(max_examples=200)
def test_any_bytes_come_out_as_they_were(data: st.DataObject) -> None:
    draw = random.Random(data.draw(st.integers(0, 2**32)))
    width, chunk = data.draw(st.sampled_from(WIDTHS)), data.draw(st.integers(1, 400))
    old = draw.randbytes(data.draw(st.integers(0, 1000)))
    kind = data.draw(st.sampled_from(["same size", "inserted", "removed", "other"]))
    at = draw.randint(0, len(old))
    if kind == "same size":
        share = data.draw(st.sampled_from([0.0, 0.001, 0.05, 0.5, 1.0]))
        new = bytes(byte ^ draw.randint(1, 255) if draw.random() < share else byte for byte in old)
        prefix = suffix = 0
    elif kind == "inserted":
        new = old[:at] + draw.randbytes(draw.randint(1, 100)) + old[at:]
        prefix, suffix = at, len(old) - at
    elif kind == "removed":
        to = draw.randint(at, len(old))
        new, prefix, suffix = old[:at] + old[to:], at, len(old) - to
    else:
        new, prefix, suffix = draw.randbytes(draw.randint(0, 1000)), 0, 0
    there_and_back(old, new, matched(len(old), len(new), prefix, suffix), width, chunk)


@pytest.mark.parametrize("far", [0, 254, 255, 256, 509, 510, 511, 100_000])
def test_changes_however_far_apart_come_out(far: int) -> None:
    old = bytes(CHUNK)
    changed = np.zeros(CHUNK // 2, "<u2")
    changed[[0, 1 + far, CHUNK // 2 - 1]] = 1
    told = there_and_back(old, changed.tobytes(), matched(CHUNK, CHUNK, 0, 0), 2, CHUNK)
    assert told < 100


def test_a_fine_tune_of_which_a_twelfth_of_the_values_changed_takes_a_twentieth_of_the_bytes() -> None:
    draw = np.random.default_rng(1)
    weights = draw.standard_normal(2 * CHUNK).astype(np.float32) * 0.02
    old, new = (
        (w.view(np.uint32) >> 16).astype("<u2").tobytes()
        for w in (weights, weights + draw.standard_normal(weights.size).astype(np.float32) * 3e-6)
    )
    changed = np.frombuffer(old, "<u2") != np.frombuffer(new, "<u2")
    assert 0.07 < changed.mean() < 0.09
    assert there_and_back(old, new, matched(len(old), len(new), 0, 0), 2, CHUNK) < 0.05 * len(new)


def test_what_was_inserted_is_all_that_an_insertion_costs() -> None:
    draw = np.random.default_rng(2)
    old, inserted = draw.bytes(5 * CHUNK), draw.bytes(10_000)
    at = 2 * CHUNK + 12_345
    new = old[:at] + inserted + old[at:]
    told = there_and_back(old, new, matched(len(old), len(new), at, len(old) - at), 4, CHUNK)
    assert told < len(inserted) + 500


def test_what_cannot_be_told_in_less_takes_hardly_more() -> None:
    noise = np.random.default_rng(3).bytes(CHUNK)
    for matches, base in ((matched(CHUNK, CHUNK, 0, 0), bytes(CHUNK)), ((Match(0, CHUNK, None),), b"")):
        assert there_and_back(base, noise, matches, 4, CHUNK) < CHUNK + 100


def test_weights_by_themselves_are_compressed_byte_by_byte() -> None:
    weights = np.random.default_rng(4).standard_normal(CHUNK // 4).astype(np.float32)
    half = (weights.view(np.uint32) >> 16).astype("<u2").tobytes()
    assert there_and_back(b"", half, (Match(0, len(half), None),), 2, len(half)) < 0.75 * len(half)


@given(st.data())
@settings(max_examples=300)
def test_no_bytes_make_the_decoder_fail_otherwise_than_by_saying_so(data: st.DataObject) -> None:
    draw = random.Random(data.draw(st.integers(0, 2**32)))
    old = draw.randbytes(600)
    new = bytes(byte ^ 1 if draw.random() < 0.1 else byte for byte in old)
    encoded = bytearray(encode(new, 0, matched(600, 600, 0, 0), reading(old), data.draw(st.sampled_from(WIDTHS))))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[draw.randrange(len(encoded))] = draw.randrange(256)
    cut = bytes(encoded[: data.draw(st.integers(0, len(encoded)))])
    for base in (reading(old), reading(old[:300]), None):
        try:
            found = decode(cut, 600, base)
        except Undecodable:
            continue
        assert len(found) == 600


@pytest.mark.parametrize("size", [-1, CHUNK + 1])
def test_no_chunk_is_longer_than_chunks_are(size: int) -> None:
    with pytest.raises(Undecodable):
        decode(b"", size, None)


def test_a_bomb_is_read_no_further_than_a_chunk_goes() -> None:
    bomb = encode(bytes(CHUNK), 0, (Match(0, CHUNK, None),), none, 1)
    assert len(bomb) < 200
    # It says that it is shorter than it is: no more than that is made of it.
    short = bomb[:2] + (10).to_bytes(4) + bomb[6:]
    assert decode(short, 10, None) == bytes(10)
    with pytest.raises(Undecodable):
        decode(bomb * 3, CHUNK, None)
