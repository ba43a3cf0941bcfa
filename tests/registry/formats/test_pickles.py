"""Pickles of every protocol, whole, broken and disguised, and text that is none."""

from __future__ import annotations

import bz2
import collections
import datetime
import gzip
import io
import lzma
import pickle
import zlib
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from modelyard.registry.formats.pickles import is_compressed_pickle, is_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Harm:
    """Calls print when it is unpickled."""

    def __reduce__(self) -> Any:
        return print, ("harm",)


THINGS = [
    Harm(),
    [1, 2, Harm()],
    {"a": Harm(), "b": [None, True, 1.5, b"x", "y", 2**70]},
    (Harm(), Harm()),
    datetime.date(2026, 11, 21),
    collections.OrderedDict(a=1),
    np.arange(10),
    np.array([Harm()], object),
    LinearRegression(),
    [b"x" * 100_000, Harm()],
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("index", range(len(THINGS)))
def test_a_pickle_that_calls_is_recognised(index: int, protocol: int) -> None:
    content = pickle.dumps(THINGS[index], protocol)
    assert is_pickle(content)
    assert is_pickle(content[:-1] + b"and then nonsense")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_of_plain_data_is_recognised_by_its_protocol(protocol: int) -> None:
    assert is_pickle(pickle.dumps({"a": [1, 2.5, None], "b": (True, b"x", {1, 2})}, protocol))


def test_a_pickle_by_joblib_is_recognised() -> None:
    file = io.BytesIO()
    joblib.dump({"w": np.arange(1000), "m": LinearRegression()}, file)
    assert is_pickle(file.getvalue())


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'id'\ntR.",  # the textbook one
        b"(S'id'\nios\nsystem\n.",  # INST
        b"cos\nsystem\n(S'id'\ntR" + b"\xff" * 50,  # broken behind its harm
        b"c\xc3\xb6s\nsystem\n(S'id'\ntR.",  # a module's name that pickletools cannot decode
        b"Iinvalid\n0cos\nsystem\n(S'id'\ntR.",  # a number that is none, thrown away
        b"V" + b"x" * 5_000_000 + b"\n0cos\nsystem\n(S'id'\ntR.",  # harm far behind
        b"\x80\x04" + b"N0" * 200_000 + b"cos\nsystem\n(S'id'\ntR.",
        b"N0" * 2_000_000,  # nothing but opcodes, without end
        b"\x82\x01)R.",  # an import by its number in the registry of extensions
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
        b"cthis\ns\n.",  # imports, which runs a module
    ],
)
def test_a_pickle_made_to_escape_is_recognised(content: bytes) -> None:
    assert is_pickle(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"cat\ndog\nRabbit\n",
        b"class_a\nclass_b\n(other)\nR\n",
        b"(c) 2026 Somebody\n\nPermission is granted",
        b'{"a": 1}',
        b"Name,Value\nI,1\n",
        b"# Model card\n",
        b"]",
        b"}",
        b"I1\n.",
        b"\x80",
        b"\x80\x02",
        b"\x80\x3f\x00\x00",
        b"\x80" * 100,  # a quantised tensor's zero points
        b"\x08\x07\x12\x04",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_is_no_pickle_is_not_taken_for_one(content: bytes) -> None:
    assert not is_pickle(content)


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_text_is_hardly_ever_taken_for_a_pickle(text: str) -> None:
    assert not is_pickle(b"# " + text.encode())


@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer(content: bytes) -> None:
    is_pickle(content)
    is_pickle(b"\x80\x04" + content)
    is_compressed_pickle(content)


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_pickle_is_recognised(pack: Any) -> None:
    assert is_compressed_pickle(pack(pickle.dumps(THINGS[2])))
    assert is_compressed_pickle(pack(pickle.dumps(np.random.default_rng(0).bytes(2_000_000)))[: 2**20])
    assert not is_compressed_pickle(pack(b'{"a": 1}'))


def test_a_compressed_bomb_takes_no_memory() -> None:
    assert not is_compressed_pickle(gzip.compress(bytes(2**26)))
