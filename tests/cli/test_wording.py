"""What the command line says is in the words of what was typed: options for fields, and commands that work."""

from __future__ import annotations

import gc
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from modelyard.cli.main import main

Say = Callable[..., str]


@pytest.fixture
def answering() -> Iterator[tuple[str, dict[str, Any]]]:
    """A server's URL, and what it answers to each request: a problem."""
    problem: dict[str, Any] = {}

    class Problems(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps(problem).encode()
            self.send_response(problem["status"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815 - the base class's names

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Problems) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", problem
        server.shutdown()


@pytest.fixture
def say(
    answering: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Iterator[Say]:  # fmt: skip
    """What a command line says when it is answered with a problem."""
    url, problem = answering
    monkeypatch.setenv("MODELYARD_URL", url)
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path))

    def run(line: str, **answer: Any) -> str:
        problem.clear()
        problem.update({"status": 422, "code": "invalid_request", "detail": "It is not valid.", **answer})
        monkeypatch.setattr(sys, "argv", ["modelyard", *shlex.split(line)])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().err

    threshold = gc.get_threshold()
    yield run
    gc.set_threshold(*threshold)


@pytest.mark.parametrize(
    ("line", "path", "said"),
    [
        ("deploy pat /m.onnx --memory 8Q", "spec.resources.memory", "--memory"),
        ("deploy pat /m.onnx --env A=b", "spec.container.environment.A", "--env"),
        ("deploy pat /m.onnx --secret HOME", "spec.container.secrets.HOME", "--secret"),
        ("deploy pat /m.onnx --replicas 0", "spec.replicas.min", "--replicas"),
        ("deploy pat /m.onnx", "name", "NAME"),
        ("deploy pat /m.onnx", "spec.source", "SOURCE"),
        ("update pat --set resources.memory=8Q", "spec.resources.memory", "--set resources.memory"),
        ("update pat --set 'rollout.canary={}'", "spec.rollout.canary.steps", "--set rollout.canary.steps"),
        ("update pat --set resources.cpu=2", "acknowledge_restart", "--acknowledge-restart"),
        ("namespace set vision --memory 8Q", "quota.memory", "--memory"),
        ("namespace set vision --feature pythn=off", "features.pythn", "--feature"),
        ("members add alice@example.com --role boss", "role", "--role"),
        ("api-keys create ci --role user --expires 1s", "expires_at", "--expires"),
        ("schedule set pat -z UTC --day monday=08:00-09:00", "daily.monday.stop", "--day"),
        ("alerts rules set r --kind latency --for 1y", "lasting", "--for"),
    ],
)
def test_a_wrong_field_is_named_as_it_was_typed(say: Say, line: str, path: str, said: str) -> None:
    problems = [{"path": path, "code": "invalid_value", "message": "It is wrong."}]
    assert f"  {said}  It is wrong.\n" in say(line, errors=problems)


def test_a_field_of_a_file_keeps_its_path(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "pat.yaml"
    file.write_text("name: pat\nspec: {resources: {memory: 8Q}}\n")
    problems = [{"path": "spec.resources.memory", "code": "invalid_value", "message": "It is wrong."}]
    assert "  spec.resources.memory  It is wrong.\n" in say(f"apply -f {file}", errors=problems)


def test_what_the_client_and_the_server_say_to_each_other_is_not_shown(say: Say) -> None:
    said = say(
        "update pat --set resources.cpu=2", status=412, code="etag_mismatch",
        detail="The model is at version 5, If-Match names 4: get it again.",
    )  # fmt: skip
    assert said.startswith("Error: Somebody changed it in between.\n  Look at it again")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("start pat", "modelyard start pat"),
        ("-n team-a start pat", "modelyard -n team-a start pat"),
        ("start pat --namespace team-a --url {url}", "modelyard -n team-a --url {url} start pat"),
        ("start pat --home '{home}/a b'", "modelyard --url {url} --home '{home}/a b' start pat"),
    ],
)
def test_a_command_that_is_suggested_has_the_options_of_the_call(
    say: Say, answering: tuple[str, dict[str, Any]], tmp_path: Path, line: str, command: str
) -> None:
    given = {"url": answering[0], "home": str(tmp_path)}
    if "--home" in line:  # outranks the environment's URL
        line += " --url {url}"
    said = say(line.format(**given), status=409, code="not_now", detail="Not now: see 'modelyard start pat'.")
    assert f"see '{command.format(**given)}'." in said


def test_a_suggestion_about_all_namespaces_stays_so(say: Say) -> None:
    said = say("-n team-a status pat", status=404, code="not_found", detail="There is no model 'pat'.")
    assert "`modelyard list -A` shows which models there are" in said
