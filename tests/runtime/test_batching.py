"""Which requests share a run, which do not, and that nobody sees a difference."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.runtime.calls import Answer, Call
from modelyard.runtime.dataplane import DataPlane
from modelyard.runtime.engines.base import Batching, SyncModel, batching
from modelyard.runtime.errors import LoadFailure, RequestError
from modelyard.runtime.signature import Signature, TensorSpec

SIGNATURE = Signature(inputs=(TensorSpec("x", "FP64", (-1, -1)),))


class Doubling(SyncModel):
    """Doubles ``x``; notes the rows of each run. Refuses rows that hold a negative number, and fails at 1000."""

    may_use_loop = True
    may_batch = True
    reads_parameters = True

    def __init__(self, max_rows: int = 8, max_delay: float = 0.0) -> None:
        super().__init__("doubling", SIGNATURE)
        self.batching = Batching(max_rows, max_delay)
        self.runs: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def rows_together(self, wanted: Batching) -> int:
        return wanted.max_rows

    def predict(self, inputs: Any, outputs: Any, parameters: dict[str, Any]) -> Any:
        x = inputs["x"]
        self.runs.append(len(x))
        self.gate.wait(30)
        if (x < 0).any():
            raise RequestError(422, "input_refused", "no negative numbers")
        if (x == 1000).any():
            raise KeyError("a thousand")
        return {"y": x * parameters.get("factor", 2), "first": x[:, 0].astype(np.int64)}


def call(rows: list[list[float]], **rest: Any) -> Call:
    entry = {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": rows}
    return Call(json.dumps({"inputs": [entry], **rest}).encode())


class Plane(DataPlane):
    """One that knows already how many rows may run together, and that they are quick."""

    def __init__(self, model: SyncModel, *, known: bool = True) -> None:
        super().__init__(model, name="m", version="1", loop=asyncio.get_running_loop(), flushed=True)
        assert self._waiting is not None
        if known:
            self._waiting.rows, self._waiting._asked = model.rows_together(model.batching or Batching()), True
        self._executor.mean_seconds = 0.0002

    async def together(self, *calls: Call) -> list[Answer]:
        """The answers to calls that come in one turn of the loop."""
        asking = [asyncio.ensure_future(self.infer(call)) for call in calls]
        await asyncio.sleep(0)
        self.flush()
        return await asyncio.wait_for(asyncio.gather(*asking), 30)


def values(answer: Answer, output: int = 0) -> Any:
    assert answer.status == 200, answer.body
    return json.loads(answer.body)["outputs"][output]["data"]


async def test_requests_of_one_turn_share_a_run_and_each_gets_its_own_rows() -> None:
    model = Doubling()
    answers = await Plane(model).together(call([[1, 2]], id="a"), call([[3, 4], [5, 6]]), call([[7, 8]]))
    assert model.runs == [4]
    assert [values(answer) for answer in answers] == [[2, 4], [6, 8, 10, 12], [14, 16]]
    assert [values(answer, 1) for answer in answers] == [[1], [3, 5], [7]]
    assert json.loads(answers[0].body)["id"] == "a"
    assert json.loads(answers[1].body)["outputs"][0]["shape"] == [2, 2]


async def test_a_request_that_is_alone_runs_at_once() -> None:
    model = Doubling()
    plane = Plane(model)
    answered: list[Answer] = []
    plane.submit(call([[1]]), answered.append)
    plane.flush()
    assert values(answered[0]) == [2]


async def test_what_does_not_go_together_runs_apart() -> None:
    model = Doubling()
    answers = await Plane(model).together(
        call([[1, 2]]),
        call([[1]]),
        call([[1, 2]], parameters={"factor": 3}),
        call([[2, 2]], parameters={"factor": 3}),
        call([[1, 2]], outputs=[{"name": "first"}]),
        call([[5, 6]]),
    )
    assert sorted(model.runs) == [1, 1, 2, 2]
    assert [values(answer) for answer in answers] == [[2, 4], [2], [3, 6], [6, 6], [1], [10, 12]]


async def test_a_batch_has_no_more_rows_than_may_run_together() -> None:
    model = Doubling(max_rows=4)
    await Plane(model).together(*(call([[1]] * rows) for rows in (1, 2, 2, 5, 1, 1, 1)))
    assert sum(model.runs) == 13
    assert all(rows <= 4 or rows == 5 for rows in model.runs)
    assert len(model.runs) < 7


async def test_a_request_answers_for_its_own_faults_only() -> None:
    answers = await Plane(Doubling()).together(
        call([[1]]), call([[-1]]), Call(b"{"), call([[1000]]), call([["x"]]), Call(b"", form="v1"), call([[4]])
    )
    codes = [json.loads(answer.body).get("code") for answer in answers]
    assert codes == [None, "input_refused", "invalid_json", "model_error", "invalid_request", "invalid_json", None]
    assert [values(answers[place]) for place in (0, 6)] == [[2], [8]]


async def test_an_answer_that_json_cannot_carry_spoils_no_other() -> None:
    class Roots(Doubling):
        def predict(self, inputs: Any, outputs: Any, parameters: Any) -> Any:
            with np.errstate(invalid="ignore"):
                return {"y": np.sqrt(inputs["x"])}

    answers = await Plane(Roots()).together(call([[4]]), call([[-1]]), call([[9]]))
    assert [answer.status for answer in answers] == [200, 500, 200]
    assert json.loads(answers[1].body)["code"] == "output_not_finite"
    assert values(answers[2]) == [3]


async def test_what_comes_while_the_model_is_busy_runs_together_after() -> None:
    model = Doubling()
    plane = Plane(model)
    plane._executor.mean_seconds = 1.0
    model.gate.clear()
    first = asyncio.ensure_future(plane.together(call([[1]])))
    while not model.runs:
        await asyncio.sleep(0.001)
    later = [asyncio.ensure_future(plane.together(call([[n]]))) for n in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    taken_back = asyncio.ensure_future(plane.together(call([[7]])))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    taken_back.cancel()
    await asyncio.wait([taken_back])
    model.gate.set()
    await first
    assert [values((await answer)[0]) for answer in later] == [[0], [2], [4], [6], [8]]
    assert model.runs == [1, 5]


async def test_no_request_shares_a_run_before_it_is_known_that_it_may() -> None:
    asked = threading.Event()
    go_on = threading.Event()

    class Pondering(Doubling):
        def rows_together(self, wanted: Batching) -> int:
            asked.set()
            go_on.wait(30)
            return 3

    model = Pondering()
    plane = Plane(model, known=False)
    await plane.together(call([[1]]), call([[2]]), call([[3]]))
    assert model.runs == [1, 1, 1]
    assert await asyncio.to_thread(asked.wait, 30)
    go_on.set()
    while plane._waiting is None or plane._waiting.rows is None:
        await asyncio.sleep(0.001)
    await plane.together(call([[1]]), call([[2]]), call([[3]]), call([[4]]))
    assert sorted(model.runs[3:]) == [1, 3]


async def test_a_model_that_answers_with_other_rows_runs_each_request_alone_from_then_on() -> None:
    class Summing(Doubling):
        def predict(self, inputs: Any, outputs: Any, parameters: Any) -> Any:
            self.runs.append(len(inputs["x"]))
            return {"y": inputs["x"].sum(keepdims=True)}

    model = Summing()
    plane = Plane(model)
    for expected in ([2, 1, 1], [2, 1, 1, 1, 1]):
        assert [values(answer) for answer in await plane.together(call([[1]]), call([[2]]))] == [[1], [2]]
        assert model.runs == expected
        await asyncio.sleep(0)


async def test_a_model_that_fails_to_say_whether_rows_may_run_together_runs_them_alone() -> None:
    class Failing(Doubling):
        def rows_together(self, wanted: Batching) -> int:
            raise MemoryError

    model = Failing()
    plane = Plane(model, known=False)
    while plane._waiting is None or plane._waiting.rows is None:
        await plane.together(call([[1]]), call([[2]]))
        await asyncio.sleep(0.001)
    assert plane._waiting.rows == 1
    assert set(model.runs) == {1}


async def test_a_request_that_fills_a_batch_is_answered_at_once_and_cannot_be_taken_back() -> None:
    plane = Plane(Doubling(max_rows=2, max_delay=30.0))
    answered: list[Answer] = []
    assert plane.submit(call([[1]]), answered.append) is not None
    assert plane.submit(call([[2]]), answered.append) is None
    assert [values(answer) for answer in answered] == [[2], [4]]


async def test_requests_that_cannot_be_compared_are_answered_alone() -> None:
    model = Doubling()
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    answers = await Plane(model).together(call([[1]]), call([[2]], parameters={"deep": deep}), call([[3]]))
    assert [values(answer) for answer in answers] == [[2], [4], [6]]


@pytest.mark.parametrize("count", [2, 8])
async def test_with_a_delay_requests_wait_for_others_until_there_are_enough(count: int) -> None:
    model = Doubling(max_rows=8, max_delay=0.2 if count == 2 else 30.0)
    plane = Plane(model)
    asking = []
    for n in range(count):
        asking.append(asyncio.ensure_future(plane.together(call([[n]]))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert count == 8 or model.runs == []
    answers = await asyncio.gather(*asking)
    assert [values(answer) for (answer,) in answers] == [[2 * n] for n in range(count)]
    assert model.runs == [count]


rows = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(st.integers(-1, 3), min_size=width, max_size=width), min_size=1, max_size=3)
)
calls = st.builds(
    lambda rows, rest: call(rows, **rest),
    rows,
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.sampled_from(["a", "b"]),
            "parameters": st.sampled_from([{"factor": 3}, {"binary_data_output": True}, 3]),
            "outputs": st.sampled_from([[{"name": "y"}], [{"name": "first", "parameters": {"binary_data": True}}]]),
        },
    ),
)


@settings(max_examples=60, deadline=None)
@given(calls=st.lists(calls, min_size=1, max_size=10), max_rows=st.integers(2, 9))
async def test_an_answer_is_the_same_alone_and_among_others(calls: list[Call], max_rows: int) -> None:
    alone = [await Plane(Doubling()).together(each) for each in calls]
    assert await Plane(Doubling(max_rows)).together(*calls) == [answer for (answer,) in alone]


# ------------------------------------------------------------------ options.batching


def test_options_say_how_requests_may_share_a_run() -> None:
    assert batching({}) == Batching()
    assert batching({"batching": False}) is None
    assert batching({"batching": {"max_rows": 16, "max_delay_ms": 2.5}}) == Batching(16, 0.0025, True)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "an object"),
        ({"max_row": 3}, "not 'max_row'"),
        ({"max_rows": 1}, "from 2 to"),
        ({"max_rows": 2.0}, "from 2 to"),
        ({"max_delay_ms": -1}, "from 0 to"),
    ],
)
def test_options_of_batching_that_make_no_sense_are_refused(value: Any, said: str) -> None:
    with pytest.raises(LoadFailure, match=said) as caught:
        batching({"batching": value})
    assert caught.value.code == "invalid_options"
