"""examples/progressive, the service before and after, and the application in docs/serving.md, as they stand there."""

from __future__ import annotations

import difflib
import importlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from httpx2 import ASGITransport, AsyncClient

from modelyard.runtime import ModelManager, ProgressiveLoadingConfig

EXAMPLE = Path(__file__).parents[2] / "examples" / "progressive"
DOCUMENT = Path(__file__).parents[2] / "docs" / "serving.md"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports its modules."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setenv("MODELYARD_ENVIRONMENT", "production")
    yield importlib.import_module
    for name in ("before", "after", "slow_models"):
        sys.modules.pop(name, None)


def programs() -> list[str]:
    """What is Python in the documentation."""
    return re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


@asynccontextmanager
async def running(app: Any) -> Any:
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app=app), base_url="http://here") as client,
    ):
        yield client


async def test_both_give_the_same_answers(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOAD_SECONDS", "0")
    for name in ("before", "after"):
        async with running(example(name).app) as client:
            assert (await client.get("/about")).json() == "Translates into Pig Latin."
            assert (await client.get("/translate?text=Hello World")).json() == "ellohay orldway"


async def test_the_one_after_answers_while_its_model_is_loaded(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    there = threading.Event()
    clock = SimpleNamespace(sleep=lambda seconds: there.wait(60))
    monkeypatch.setattr(example("slow_models"), "time", clock)
    async with running(example("after").app) as client:
        assert (await client.get("/about")).status_code == 200
        ready = await client.get("/models/health/ready")
        assert (ready.status_code, ready.json()["missing"]) == (503, ["translator"])
        there.set()
        assert (await client.get("/translate?text=hello")).json() == "ellohay"
        assert (await client.get("/models/health/ready")).status_code == 200


def test_five_lines_make_the_difference() -> None:
    before, after = (
        [line.strip() for line in (EXAMPLE / name).read_text().split('"""')[2].splitlines() if line.strip()]
        for name in ("before.py", "after.py")
    )
    changed = [line[2:] for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    assert len([line for line in changed if "# if wanted" not in line]) == 5, changed


async def test_the_application_of_the_documentation_works_as_it_stands() -> None:
    program, _ = programs()
    made: dict[str, Any] = {}
    exec(program, made)
    async with running(made["app"]) as client:
        for path in ("/embed", "/plain"):
            assert (await client.get(f"{path}?text=hello")).json() == [0.1, 0.9]
        # Its other model is a file of the reader's.
        answer = await client.get("/models/v2/models/ranker")
        assert (answer.status_code, answer.json()["code"]) == (503, "missing_file")
        await made["manager"].unload("embedder")
        answer = await client.get("/embed?text=hello")
        assert (answer.status_code, answer.json()["code"]) == (503, "model_unloaded")


async def test_the_model_of_the_documentation_that_yields_answers_in_pieces(home: Path) -> None:
    (home / "words").mkdir()
    (home / "words" / "model.py").write_text(programs()[1])
    manager = ModelManager(ProgressiveLoadingConfig(environment="development"))
    manager.register("words", home / "words")
    app = manager.app
    async with manager.lifespan(None), AsyncClient(transport=ASGITransport(app=app), base_url="http://here") as client:
        body = {"text_input": "one two"}
        answer = await client.post("/v2/models/words/generate_stream", json=body)
        pieces = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
        assert [piece["text_output"] for piece in pieces] == ["ONE", "TWO"]
        answer = await client.post("/v2/models/words/generate", json=body)
        assert answer.json()["text_output"] == ["ONE", "TWO"]
