"""What the commands on models do, print and exit with."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from rich.console import Console
from typer.main import get_group
from typer.testing import CliRunner

from modelyard.cli.main import PARTS, app
from modelyard.cli.views import duration, status_view
from modelyard.client import types
from tests.cli.yard import Yard, eventually


def test_a_model_lives_through_deploy_stop_start_restart_delete(yard: Yard) -> None:
    done = yard.run("deploy", "life", "--engine", "mock", "--label", "team=x", "--reason", "a test")
    assert done.returncode == 0
    assert "life is running" in done.stdout
    assert f"{yard.url}/v2/models/life/infer" in done.stdout
    assert "Deploying life" in done.stderr
    assert yard.json("status", "life")["state"] == "running"
    assert re.search(r"life is stopped: 1 instance, [\d.]+ MiB released in [1-9]\d* ms\n", yard.ok("stop", "life"))
    assert yard.state("life") == "stopped"
    assert "stopped already" in yard.ok("stop", "life")
    assert "life is running" in yard.ok("start", "life")
    before = yard.json("status", "life")["instances"][0]["id"]
    yard.ok("restart", "life")
    assert yard.json("status", "life")["instances"][0]["id"] != before
    yard.ok("stop", "life", "--force")
    assert "life is deleted" in yard.ok("delete", "life", "--yes")
    assert yard.run("status", "life").returncode == 3


def test_each_kind_of_failure_has_its_exit_code(yard: Yard) -> None:
    yard.ok("deploy", "codes", "--engine", "mock", "--stopped")
    expected = {
        ("list", "--no-such-option"): 2,
        ("stop", "codes", "--force", "--timeout", "3s"): 2,
        ("stop", "codes", "--timeout", "soon"): 2,
        ("delete", "codes"): 2,
        ("predict", "codes"): 2,
        ("apply", "-f", "/no/such/file.yaml"): 2,
        ("status", "nobody"): 3,
        ("logs", "nobody"): 3,
        ("events", "nobody"): 3,
        ("list", "-n", "nowhere"): 3,
        ("deploy", "codes", "--engine", "mock"): 4,
        ("restart", "codes"): 4,
        ("predict", "codes", "--data", '{"inputs": []}'): 4,
        ("list", "--url", "http://127.0.0.1:1"): 5,
        ("deploy", "codes2", "--engine", "mock", "--memory", "1"): 7,
        ("predict", "codes", "--data", "{"): 7,
    }
    found = {arguments: yard.run(*arguments) for arguments in expected}
    assert {arguments: done.returncode for arguments, done in found.items()} == expected
    assert not any("Traceback" in done.stderr for done in found.values())
    assert not any(done.stdout for done in found.values())


def test_an_operation_that_fails_exits_with_1_and_shows_the_log(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("raise RuntimeError('weights are sour')\n")
    done = yard.run("deploy", "sour", str(tmp_path), "--engine", "python")
    assert done.returncode == 1
    assert "weights are sour" in done.stderr
    yard.ok("delete", "sour", "--yes", "--force")


def test_a_wait_that_runs_out_exits_with_6_and_leaves_the_operation_running(yard: Yard) -> None:
    begun = time.monotonic()
    done = yard.run("deploy", "slow", "--engine", "mock", "--option", "load_ms=30000", "--wait-timeout", "500ms")
    assert done.returncode == 6
    assert "It goes on" in done.stderr
    assert time.monotonic() - begun < 10
    assert yard.state("slow") == "starting"
    yard.ok("delete", "slow", "--yes", "--force")


def test_all_wrong_fields_are_named_at_once_with_what_to_do(yard: Yard) -> None:
    done = yard.run("deploy", "NAME", "/no/such.onnx", "--replicas", "99", "--memory", "1")
    assert done.returncode == 7
    for typed in ("NAME", "SOURCE", "--replicas", "--memory"):
        assert f"  {typed}  " in done.stderr
    assert "Request " in done.stderr


def test_a_refusal_says_what_is_allowed(yard: Yard) -> None:
    yard.ok("deploy", "refused", "--engine", "mock", "--stopped")
    done = yard.run("restart", "refused")
    assert "Use start" in done.stderr
    assert "Allowed now: start, stop, update, redeploy, delete" in done.stderr


def test_not_running_says_how_to_start(yard: Yard) -> None:
    done = yard.run("list", "--url", "http://127.0.0.1:1")
    expected = "Error: Modelyard is not running at http://127.0.0.1:1: start it with `modelyard up`.\n"
    assert done.stderr == expected


def test_a_wrong_token_is_refused_with_where_it_is_read_from(yard: Yard, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("nonsense\n")
    done = yard.run("list", "--token-file", str(wrong))
    assert done.returncode == 4
    assert "admin.token" in done.stderr


def test_output_is_a_table_json_or_yaml_before_or_after_the_command(yard: Yard) -> None:
    yard.ok("deploy", "shown", "--engine", "mock", "--stopped", "--label", "a=b")
    table = yard.ok("list", "--label", "a=b")
    assert table.splitlines()[0].split() == ["NAME", "STATE", "READY", "ENGINE", "MEMORY", "SINCE", "MESSAGE"]
    assert "shown" in table
    (model,) = json.loads(yard.ok("-o", "json", "list", "--label", "a=b"))
    assert model["spec"]["labels"] == {"a": "b"}
    assert yaml.safe_load(yard.ok("status", "shown", "--output", "yaml"))["state"] == "stopped"
    operation = yard.json("start", "shown")
    assert operation["state"] == "succeeded"
    assert yard.json("version")["server"] == yard.json("version")["client"]


def test_without_waiting_a_command_returns_with_the_operation(yard: Yard) -> None:
    yard.ok("deploy", "later", "--engine", "mock", "--option", "load_ms=300", "--no-wait")
    (operation, *_) = yard.json("operations", "--model", "later")
    eventually(lambda: yard.json("operations", operation["id"])["done"], "the deploy is done")
    assert "ready" in yard.ok("operations", operation["id"])


def test_apply_creates_then_updates_and_leaves_equal_models_alone(yard: Yard, tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    text = "name: one\nspec: {engine: mock}\n---\nname: two\ndesired: stopped\nspec: {engine: mock, description: x}\n"
    file.write_text(text)
    yard.ok("apply", "-f", str(file))
    assert (yard.state("one"), yard.state("two")) == ("running", "stopped")
    again = yard.ok("apply", "-f", str(file))
    assert again.splitlines() == ["one is unchanged", "two is unchanged"]
    changed = yard.ok("apply", "-f", "-", stdin=text.replace("description: x", "description: y"))
    assert changed.splitlines() == ["one is unchanged", "two is updated (stopped)"]
    (two,) = (one for one in yard.json("list", "--search", "two") if one["name"] == "two")
    assert two["spec"]["description"] == "y"


def test_apply_is_not_refused_because_a_model_has_changed_its_status_meanwhile(yard: Yard) -> None:
    """Every write of a status raises a model's version, and a model may change its state at any time."""
    now = "2026-11-01T12:00:00Z"
    model = {"namespace": "default", "name": "busy", "uid": "u", "generation": 1, "desired": "running", "spec": {},
             "status": {"namespace": "default", "name": "busy", "state": "starting"}, "created_at": now,
             "updated_at": now}  # fmt: skip
    operation = {"id": "o", "kind": "update", "namespace": "default", "model": "busy", "state": "succeeded",
                 "done": True, "created_at": now, "updated_at": now}  # fmt: skip

    class Restless(BaseHTTPRequestHandler):
        version = 0

        def do_GET(self) -> None:
            self.answer(200, {**model, "version": self.version})

        def do_PUT(self) -> None:
            Restless.version += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            wanted = self.headers["If-Match"] or f'"{self.version}"'
            stale = wanted != f'"{self.version}"'
            self.answer(412, {"code": "version_conflict"}) if stale else self.answer(200, operation)

        def answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Restless) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        done = yard.run("apply", "--url", url, "--no-wait", "-f", "-", stdin="name: busy\nspec: {engine: mock}\n")
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "busy is updated\n"


def test_apply_reports_and_waits_for_what_has_begun_when_another_document_is_refused(yard: Yard) -> None:
    fine = "spec: {engine: mock, options: {load_ms: 300}}\n"
    text = (
        f"name: first\n{fine}---\nname: second\nspec: {{engine: mock, replicas: {{max: 99}}}}\n---\nname: third\n{fine}"
    )
    done = yard.run("apply", "-f", "-", stdin=text)
    assert done.returncode == 7
    assert [line.split(" (")[0] for line in done.stdout.splitlines()] == ["first is running", "third is running"]
    assert "Error: second: The request is not valid.\n  spec.replicas.max  " in done.stderr
    assert yard.state("first") == "running"


def test_apply_waits_for_all_and_fails_when_one_of_them_fails(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("raise RuntimeError('weights are sour')\n")
    text = f"name: rotten\nspec: {{engine: python, source: {tmp_path}}}\n---\nname: sound\nspec: {{engine: mock}}\n"
    done = yard.run("apply", "-f", "-", stdin=text)
    assert done.returncode == 1
    assert done.stdout.startswith("sound is running")
    assert "Error: rotten: " in done.stderr


def test_a_stopped_model_shows_what_its_stop_gave_back(yard: Yard) -> None:
    yard.ok("deploy", "given", "--engine", "mock")
    yard.ok("stop", "given")
    gave = r"1 instance, [\d.]+ MiB released in [1-9]\d* ms"
    assert re.search(rf"given +stopped .* {gave}\n", yard.ok("list", "--search", "given"))
    shown = yard.ok("status", "given")
    assert re.search(r"State +stopped\n", shown)
    assert re.search(rf"Stop +{gave}\n", shown)


def test_status_shows_one_revision_unless_the_newest_has_failed() -> None:
    def revision(serving: int, **fields: object) -> str:
        base: dict[str, object] = {
            "namespace": "default",
            "name": "m",
            "state": "running",
            "generation": 2,
            "target_generation": 1,
        }
        base["serving_generation"] = serving
        console = Console(file=io.StringIO(), width=200)
        console.print(status_view(types.parse(types.Status, {**base, **fields}), "http://yard"))
        assert isinstance(console.file, io.StringIO)
        return next(line for line in console.file.getvalue().splitlines() if line.startswith("Revision"))

    # An update that replaces nothing is served by the instances that were there before.
    assert revision(2).split() == ["Revision", "2"]
    assert revision(1, rolled_back_from=2).split(maxsplit=1) == ["Revision", "2 (failed), serving 1"]
    assert revision(1).split(maxsplit=1) == ["Revision", "2 (given up), serving 1"]


@pytest.mark.parametrize(("seconds", "text"), [(0.0321, "32 ms"), (0.9999, "1.0 s"), (4.06, "4.1 s"), (150, "2.5 min")])
def test_a_duration_is_shown_with_the_digits_that_count(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_no_token_goes_to_another_program_that_listens_where_modelyard_would(own: Yard) -> None:
    (own.home / "admin.token").write_text("secret")
    with socket.create_server(("127.0.0.1", own.port)) as other:
        done = own.run("list")
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert done.returncode == 5
    assert done.stderr == f"Error: Modelyard is not running at {own.url}: start it with `modelyard up`.\n"


def test_apply_takes_relative_sources_from_the_files_folder(yard: Yard, tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("name: relative\nspec: {source: ./no-model.onnx}\n")
    done = yard.run("apply", "-f", str(file))
    assert done.returncode == 7
    assert f"{tmp_path}/no-model.onnx" in done.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "is not YAML"),
        ("- 1", "document 1: it is no mapping"),
        ("nam: x\nspec: {}", "document 1: unknown nam"),
        ("", "holds no model"),
    ],
)
def test_apply_refuses_what_is_no_model(yard: Yard, text: str, complaint: str) -> None:
    done = yard.run("apply", "-f", "-", stdin=text)
    assert done.returncode == 7
    assert complaint in done.stderr


def test_deploy_passes_every_option_on(yard: Yard, tmp_path: Path) -> None:
    yard.ok(
        "deploy", "full", "--engine", "mock", "--stopped", "--cpu", "0.5", "--memory", "64Mi", "--replicas", "2",
        "--env", "A=1", "--env", "B=x=y", "--option", "latency_ms=5", "--label", "l=v", "--public",
        "--working-dir", str(tmp_path), "--shared-memory", "32Mi", "--description", "all of it", "--priority", "3",
        "--preempt", "idle", "--pin", "--target", "rps=50", "--idle-after", "5m", "--strategy", "surge",
        "--type", "textgen", "--feature", "streaming", "--feature", "tool-calls", "--group", "team-a",
    )  # fmt: skip
    (model,) = yard.json("list", "--search", "full")
    spec = model["spec"]
    assert spec["resources"] == {"cpu": 0.5, "memory": "64Mi", "gpus": 0}
    assert spec["replicas"] == {"min": 2, "max": 2, "desired": None}
    scaling = spec["autoscaling"]
    assert (scaling["metric"], scaling["target"], scaling["idle_after"]) == ("rps", 50.0, "300s")
    assert (spec["priority"], spec["preempt"], spec["pin"]) == (3, "idle", True)
    assert (spec["rollout"]["strategy"], spec["type"], spec["groups"]) == ("surge", "textgen", ["team-a"])
    assert [name for name, has in spec["features"].items() if has] == ["streaming", "tool_calls"]
    assert spec["container"]["environment"] == {"A": "1", "B": "x=y"}
    assert spec["container"]["shared_memory"] == "32Mi"
    assert spec["options"] == {"latency_ms": 5}
    assert (spec["labels"], spec["public"], spec["description"]) == ({"l": "v"}, True, "all of it")


def test_a_server_of_ones_own_is_deployed_by_its_command_line(yard: Yard) -> None:
    server = f"{sys.executable} -m http.server {{port}} --bind 127.0.0.1"
    out = yard.ok("deploy", "server", "--command", server, "--health-path", "/")
    assert f"{yard.url}/proxy/default/server" in out
    yard.ok("delete", "server", "-y", "--force")


def test_predict_takes_a_request_or_inputs_from_data_file_or_stdin(yard: Yard, tmp_path: Path) -> None:
    yard.ok(
        "deploy",
        "asked",
        "--engine",
        "mock",
        "--option",
        "outputs=[{name: y, datatype: INT64, shape: [2], data: [4, 2]}]",
    )
    request = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]})
    file = tmp_path / "request.json"
    file.write_text(request)
    for arguments in (("--data", request), ("--file", str(file)), ("--data", '{"x": [[1, 2]]}'), ("--sample",)):
        answer = yard.json("predict", "asked", *arguments)
        assert answer["outputs"][0]["data"] == [4, 2]
    assert "4, 2" in yard.ok("predict", "asked", "--file", "-", stdin=request)


def test_logs_follow_until_interrupted(yard: Yard) -> None:
    yard.ok("deploy", "talker", "--engine", "mock")
    assert "ready" in yard.ok("logs", "talker")
    follower = yard.begin("logs", "talker", "--follow")
    assert follower.stdout is not None
    assert "ready" in follower.stdout.readline()
    follower.send_signal(2)
    assert follower.wait(10) == 130
    follower.stdout.close()


def test_events_are_listed_oldest_first_and_followed(yard: Yard) -> None:
    yard.ok("deploy", "eventful", "--engine", "mock")
    types = [event["type"] for event in yard.json("events", "eventful")]
    assert types[0] == "Created"
    follower = yard.begin("events", "eventful", "--follow", "--limit", "1", "-o", "json")
    assert follower.stdout is not None
    json.loads(follower.stdout.readline())
    yard.ok("stop", "eventful")
    assert json.loads(follower.stdout.readline())["type"] == "StopRequested"
    follower.terminate()
    follower.wait(10)
    follower.stdout.close()


def test_an_interrupted_wait_says_that_the_work_goes_on(yard: Yard) -> None:
    waiting = yard.begin("deploy", "patient", "--engine", "mock", "--option", "load_ms=60000")
    assert waiting.stdout is not None
    assert "Deploying patient" in waiting.stdout.readline()
    waiting.send_signal(2)
    assert waiting.wait(10) == 130
    assert "goes on" in waiting.stdout.read()
    waiting.stdout.close()
    yard.ok("delete", "patient", "-y", "--force")


def test_completion_knows_commands_and_model_names(yard: Yard) -> None:
    yard.ok("deploy", "completed", "--engine", "mock", "--stopped")
    assert "completed" in complete(yard, "modelyard start compl")
    assert "completed" not in complete(yard, "modelyard start x")
    assert "operations" in complete(yard, "modelyard op")
    assert complete(yard, "modelyard --url http://127.0.0.1:1 start compl").strip() == ""


def complete(yard: Yard, words: str) -> str:
    env = {
        "_MODELYARD_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    program = "from modelyard.cli.main import app; app(prog_name='modelyard')"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**yard.env, **env}, text=True, capture_output=True, check=True, timeout=30
    )
    return done.stdout


def test_help_states_the_exit_codes_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; from modelyard.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('httpx2', 'pydantic', 'numpy', 'asyncio', 'yaml', 'psutil') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Exit codes" in done.stdout


def test_the_names_that_help_lists_are_those_that_each_part_registers() -> None:
    for part, names in PARTS.items():
        made = typer.Typer()
        import_module(f"modelyard.cli.{part}").register(made)
        assert get_group(made).commands.keys() == set(names)


def commands(group: Any, *words: str) -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(None):
        inner = group.get_command(None, name)
        yield from commands(inner, *words, name) if hasattr(inner, "commands") else [(" ".join([*words, name]), inner)]


def test_every_command_says_what_it_does_and_takes_the_shared_options() -> None:
    found = dict(commands(get_group(app)))
    assert {"up", "namespace show", "alerts rules set"} <= found.keys()
    for words, one in found.items():
        assert one.help, words
        assert {"namespace", "output", "url", "ca", "home"} <= {parameter.name for parameter in one.params}, words
        unsaid = [p.name for p in one.params if p.param_type_name == "option" and not p.help]
        assert not unsaid, words
    shown = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["namespace", "show", "--help"])
    assert "--namespace" in shown.output
