"""Triton's generate extension: its bodies, and models that answer in pieces."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.runtime import engines, generate, streams, v2
from modelyard.runtime.calls import GENERATE, Answer, Call
from modelyard.runtime.dataplane import DataPlane
from modelyard.runtime.engines.base import LoadOptions
from modelyard.runtime.errors import InvalidFields, LoadFailure, RequestError
from modelyard.runtime.executor import SMALL
from modelyard.runtime.frames import FramePeer, Head
from modelyard.runtime.signature import Signature, TensorSpec

TEXT = Signature((TensorSpec("text_input", "BYTES", (-1,)), TensorSpec("max_tokens", "INT32", (-1, 1))))
ANY = Signature()


def decode(document: Any, signature: Signature = TEXT) -> v2.Request:
    return generate.decode(json.dumps(document).encode(), signature)


def encode(outputs: dict[str, Any], id: str | None = None) -> Any:
    return json.loads(generate.encode(v2.Request(id, {}, {}, None, {}, False), outputs, "m", "3").body)


# ------------------------------------------------------------------ bodies


def test_fields_are_inputs_and_single_values_have_the_inputs_shape() -> None:
    request = decode({"id": "7", "text_input": "grün", "max_tokens": 5, "parameters": {"temperature": 0.5}})
    assert request.id == "7"
    assert request.inputs["text_input"].tolist() == ["grün".encode()]
    assert request.inputs["max_tokens"].tolist() == [[5]]
    assert request.inputs["max_tokens"].dtype == np.int32
    assert request.parameters == {"temperature": 0.5}


def test_inputs_may_stand_among_the_parameters_and_be_arrays() -> None:
    request = decode({"text_input": ["a", "b"], "parameters": {"max_tokens": [5], "seed": 1}})
    assert request.inputs["text_input"].tolist() == [b"a", b"b"]
    assert request.inputs["max_tokens"].tolist() == [[5]]
    assert request.parameters == {"seed": 1}


def test_a_model_that_says_nothing_gets_what_the_values_tell() -> None:
    inputs = decode({"a": 1, "b": [1, 2.5], "c": True, "d": [["x"]]}, ANY).inputs
    assert {name: (array.dtype.kind, array.tolist()) for name, array in inputs.items()} == {
        "a": ("i", [1]),
        "b": ("f", [1, 2.5]),
        "c": ("b", [True]),
        "d": ("O", [[b"x"]]),
    }


def test_all_faults_are_reported_with_their_paths() -> None:
    with pytest.raises(InvalidFields) as caught:
        decode({"id": 3, "text_input": 4, "max_tokens": [[1, 2]], "other": 1, "parameters": []})
    assert {(path, code) for path, code, _ in caught.value.problems} == {
        ("id", "invalid_type"),
        ("text_input", "wrong_type"),
        ("max_tokens", "wrong_shape"),
        ("other", "unknown_input"),
        ("parameters", "invalid_type"),
    }
    with pytest.raises(InvalidFields, match="missing"):
        decode({"text_input": "a"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=8,
)


@given(
    document=st.dictionaries(st.sampled_from(["text_input", "max_tokens", "id", "parameters", "o"]), json_values)
    | json_values,
    signature=st.sampled_from([TEXT, ANY]),
)
def test_any_json_is_either_read_or_refused(document: Any, signature: Signature) -> None:
    with contextlib.suppress(RequestError):
        assert type(decode(document, signature).parameters) is dict


def test_single_elements_are_written_as_values_and_more_as_arrays() -> None:
    outputs = {"text_output": np.array(["a"]), "scores": np.array([[0.5, 1]], np.float32), "n": np.int64(3)}
    assert encode(outputs, "7") == {
        "model_name": "m",
        "model_version": "3",
        "id": "7",
        "text_output": "a",
        "scores": [0.5, 1],
        "n": 3,
    }
    with pytest.raises(RequestError, match="nan"):
        encode({"y": np.array([np.nan])})


# ------------------------------------------------------------------ models that answer in pieces

WORDS = """
class Model:
    inputs = [{"name": "text_input", "datatype": "BYTES", "shape": [-1]}]
    PREDICT predict(self, inputs, parameters):
        for word in inputs["text_input"][0].decode().split():
            if word == "fail":
                raise KeyError("no such word")
            yield {"text_output": [word * parameters.get("times", 1)]}
"""
PLAIN = WORDS.replace("PREDICT", "def")
ASYNC = WORDS.replace("PREDICT", "async def")


@pytest.fixture(autouse=True)
def keep_modules() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop("model", None)


def plane_of(folder: Path) -> DataPlane:
    model = engines.load("python", LoadOptions(folder))
    return DataPlane(model, name="m", version="3", loop=asyncio.get_running_loop())


async def streamed(plane: DataPlane, document: Any) -> tuple[Answer, list[Any]]:
    """The end of an answer, and the events before."""
    parts: list[Answer] = []
    call = Call(json.dumps(document).encode(), form=GENERATE, stream=True)
    answer = await asyncio.wait_for(plane.infer(call, parts.append), 30)
    assert all(part.content_type == "text/event-stream" for part in parts)
    return answer, [event(part.body) for part in parts]


def event(body: bytes) -> Any:
    assert body.startswith(b"data: ")
    assert body.endswith(b"\n\n")
    return json.loads(body[6:])


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["plain", "async"])
async def test_each_piece_is_an_event(python_model: Callable[[str], Path], source: str) -> None:
    plane = plane_of(python_model(source))
    answer, events = await streamed(plane, {"text_input": "to be or", "parameters": {"times": 2}})
    assert [each["text_output"] for each in events] == ["toto", "bebe", "oror"]
    assert (answer.status, answer.content_type, answer.body) == (200, "text/event-stream", b"")


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["plain", "async"])
async def test_who_wants_no_stream_gets_all_pieces_at_once(python_model: Callable[[str], Path], source: str) -> None:
    plane = plane_of(python_model(source))
    answer = await plane.infer(Call(b'{"text_input": "to be or"}', form=GENERATE))
    assert json.loads(answer.body)["text_output"] == ["to", "be", "or"]
    tensor = {"name": "text_input", "datatype": "BYTES", "shape": [1], "data": ["to be"]}
    answer = await plane.infer(Call(json.dumps({"inputs": [tensor]}).encode()))
    assert json.loads(answer.body)["outputs"] == [
        {"name": "text_output", "datatype": "BYTES", "shape": [2], "data": ["to", "be"]}
    ]


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["plain", "async"])
async def test_a_fault_before_the_first_piece_has_a_status_and_a_later_one_is_the_last_event(
    python_model: Callable[[str], Path], source: str
) -> None:
    plane = plane_of(python_model(source))
    answer, events = await streamed(plane, {"text_input": "fail"})
    assert (answer.status, json.loads(answer.body)["code"], events) == (500, "model_error", [])
    answer, events = await streamed(plane, {"text_input": 3})
    assert (answer.status, events) == (422, [])
    answer, events = await streamed(plane, {"text_input": "to fail"})
    assert (answer.status, len(events)) == (200, 1)
    assert event(answer.body)["code"] == "model_error"


async def test_the_answer_of_a_model_without_pieces_is_one_event(python_model: Callable[[str], Path]) -> None:
    plane = plane_of(python_model("class Model:\n  def predict(self, inputs): return {'y': [1]}\n"))
    answer, events = await streamed(plane, {"x": 1})
    assert (events, event(answer.body)["y"], answer.content_type) == ([], 1, "text/event-stream")


async def test_who_reads_slowly_is_waited_for(python_model: Callable[[str], Path]) -> None:
    folder = python_model(
        "class Model:\n  made = 0\n  def predict(self, inputs):\n"
        "    for n in range(100):\n      Model.made = n\n      yield {'n': [n]}\n"
    )
    plane = plane_of(folder)
    go_on = asyncio.Event()
    seen: list[Answer] = []

    async def read(answer: Answer) -> None:
        seen.append(answer)
        await go_on.wait()

    asking = asyncio.ensure_future(plane.infer(Call(b"{}", form=GENERATE, stream=True), read))
    while not seen:
        await asyncio.sleep(0.001)
    assert sys.modules["model"].Model.made <= 1
    go_on.set()
    await asking
    assert len(seen) == 100


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_who_takes_no_piece_in_time_holds_nobody_up(
    python_model: Callable[[str], Path], kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plane = plane_of(python_model(WORDS.replace("PREDICT", kind)))
    call = Call(b'{"text_input": "to be"}', form=GENERATE, stream=True)

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(30):
        monkeypatch.setattr(streams, "PATIENCE", 0.01)
        with pytest.raises(streams.Disconnected):
            await streams.stream(plane, call, b"1", never, never)
        monkeypatch.setattr(streams, "PATIENCE", 30.0)
        assert await streams.stream(plane, call, b"2", never, send) is None
    assert [event(each["body"])["text_output"] for each in sent[1:-1]] == ["to", "be"]
    assert caplog.records == []


@pytest.mark.parametrize(
    "source", [ASYNC, "class Model:\n  async def predict(self, inputs): return {'y': [1]}\n"], ids=["pieces", "whole"]
)
async def test_what_takes_long_to_read_is_not_read_on_the_loop(
    python_model: Callable[[str], Path], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = plane_of(python_model(source))
    threads: list[threading.Thread] = []
    decode = generate.decode

    def noting(*given: Any) -> v2.Request:
        threads.append(threading.current_thread())
        return decode(*given)

    monkeypatch.setattr(generate, "decode", noting)
    small, large = b'{"text_input": "to"}', b'{"text_input": "%b"}' % (b"x" * SMALL)
    for body, encoding in ((small, ""), (large, ""), (gzip.compress(large), "gzip")):
        answer = await plane.infer(Call(body, form=GENERATE, encoding=encoding, max_body=2 * SMALL))
        assert answer.status == 200
    assert [thread is threading.main_thread() for thread in threads] == [True, False, False]


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_stream_that_nobody_wants_any_more_is_closed(python_model: Callable[[str], Path], kind: str) -> None:
    folder = python_model(
        f"class Model:\n  closed = False\n  {kind} predict(self, inputs):\n"
        "    try:\n      while True:\n        yield {'n': [1]}\n    finally:\n      Model.closed = True\n"
    )
    plane = plane_of(folder)
    seen: list[Answer] = []

    async def read(answer: Answer) -> None:
        seen.append(answer)
        await asyncio.sleep(0)

    for _ in range(2):
        seen.clear()
        asking = asyncio.ensure_future(plane.infer(Call(b"{}", form=GENERATE, stream=True), read))
        while len(seen) < 3:
            await asyncio.sleep(0.001)
        asking.cancel()
        await asyncio.wait([asking])
        async with asyncio.timeout(30):
            while not sys.modules["model"].Model.closed:
                await asyncio.sleep(0.001)
        sys.modules["model"].Model.closed = False


async def test_a_worker_sends_the_pieces_as_parts(
    start_worker: Callable[..., Any], python_model: Callable[[str], Path]
) -> None:
    peer: FramePeer = await start_worker("python", source=str(python_model(PLAIN))).ready()
    parts: list[tuple[Head, bytes]] = []
    head, body = await peer.request(
        Head(op="infer", params={"form": "generate", "stream": True}),
        b'{"text_input": "to be"}',
        lambda head, body: parts.append((head, bytes(body))),
    )
    assert [(part.status, part.params, event(text)["text_output"]) for part, text in parts] == [
        (200, {"content_type": "text/event-stream"}, "to"),
        (200, {"content_type": "text/event-stream"}, "be"),
    ]
    assert (head.status, bytes(body)) == (200, b"")


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (PLAIN, {"batching": {"max_rows": 4}}),
        ("class Model:\n  batching = True\n  async def predict(self, inputs): ...\n", {}),
        ("class Model:\n  batching = 3\n  def predict(self, inputs): ...\n", {}),
    ],
)
def test_batching_that_a_model_cannot_do_is_refused(
    python_model: Callable[[str], Path], source: str, options: dict[str, Any]
) -> None:
    with pytest.raises(LoadFailure, match="batching") as caught:
        engines.load("python", LoadOptions(python_model(source), options))
    assert caught.value.code == "invalid_model"


async def test_a_model_whose_owner_says_so_gets_the_rows_of_several_requests(
    python_model: Callable[[str], Path],
) -> None:
    folder = python_model(
        "class Model:\n  batching = True\n  def predict(self, inputs):\n"
        "    return {'rows': [len(inputs['x'])] * len(inputs['x'])}\n"
    )
    plane = plane_of(folder)
    calls = [Call(b'{"x": 1}', form=GENERATE) for _ in range(4)]
    seen = [0]
    async with asyncio.timeout(30):
        while max(seen) < 4:
            answers = await asyncio.gather(*map(plane.infer, calls))
            seen = [json.loads(answer.body)["rows"] for answer in answers]
    assert seen == [4, 4, 4, 4]
