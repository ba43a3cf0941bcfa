"""README's "Five minutes", run as it stands: each line does what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from modelyard.cli.problems import MEANING
from tests.cli.yard import Yard, free_port

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW_OF_DIGITS = re.compile(r"label +INT64 +1 +\d")


@pytest.fixture
def user() -> Iterator[Yard]:
    """Somebody with a home folder, who has never run Modelyard."""
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    yard = Yard(home=folder / ".modelyard", environment={"HOME": str(folder), "MODELYARD_DEVICES": "gpu:2"})
    try:
        yield yard
    finally:
        yard.close()
        shutil.rmtree(folder)


@pytest.fixture
def demo(user: Yard, trained: Path) -> Yard:
    """A user for whom Modelyard runs with its demo, which was trained before."""
    user.home.mkdir(mode=0o700)
    shutil.copytree(trained, user.home / "models")
    user.ok("up", "--demo", "--detach")
    return user


class Shell:
    """A user's shell, with .venv active; what one line sets, the next one sees."""

    def __init__(self, yard: Yard) -> None:
        self._folder = yard.home.parent
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        # No MODELYARD_HOME: it is found where a user has it.
        self._env = {**yard.env, "PATH": path}
        del self._env["MODELYARD_HOME"]
        self._set: list[str] = []

    def __call__(self, line: str) -> subprocess.CompletedProcess[str]:
        if re.match(r"\w+=", line):
            self._set.append(line)
        return self._run(["bash", "-c", "\n".join([*self._set, line])])

    def begin(self, line: str) -> subprocess.Popen[str]:
        """One that goes on."""
        words = ["bash", "-c", f"exec {line}"]
        return subprocess.Popen(
            words, env=self._env, cwd=self._folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def python(self, program: str) -> subprocess.CompletedProcess[str]:
        return self._run(["python", "-c", program])

    def _run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env=self._env, cwd=self._folder, text=True, capture_output=True, timeout=60, check=False
        )


def lines(block: str) -> Iterator[str]:
    """The commands of a block: a backslash and a here-document go on."""
    command, end = "", ""
    for line in block.splitlines():
        command += line + "\n"
        end = end or (found[1] if (found := re.search(r"<<'(\w+)'", line)) else "")
        if line.endswith("\\") or (end and line != end):
            continue
        if command.strip():
            yield command
        command, end = "", ""


def answers(infer: str) -> bool:
    outputs = {output["name"]: output["data"] for output in json.loads(infer)["outputs"]}
    return outputs["label"][0] in range(10) and len(outputs["probabilities"]) == 10


# What each line begins with, its exit code, and what it has to print (a pattern, or a judge of the whole).
LINES: list[tuple[str, int, str | re.Pattern[str] | Callable[[str], bool]]] = [
    ("modelyard list", 0, re.compile(r"digits +running +1/1 +onnx .*\nwine +running +1/1 +sklearn ")),
    ("modelyard predict digits", 0, ROW_OF_DIGITS),
    ("modelyard status digits", 0, re.compile(r"State +running .*\n *Revision +1\n")),
    ("TOKEN=", 0, ""),
    ("curl", 0, answers),
    ("modelyard stop digits", 0, re.compile(r"digits is stopped: 1 instance, [\d.]+ MiB released in \d+ ms\n")),
    ("modelyard predict digits", 4, "Model 'digits' is stopped"),
    ("modelyard start digits", 0, "digits is running"),
    ("modelyard events digits", 0, re.compile(r"StopRequested .*\n.*Released .*\n(.*\n)*.*StartRequested ")),
    ("modelyard load-test digits", 0, re.compile(r"Errors +0\n(.*\n)+MIN +MEAN +P50 ")),
    ("modelyard update digits", 0, re.compile(r"container.environment.TZ +- +UTC +new instances")),
    ("modelyard update digits", 0, "digits is updated"),
    ("modelyard diff digits 2", 0, re.compile(r"container.environment.TZ +- +UTC ")),
    ("modelyard rollback digits", 0, "digits is rolled back"),
    ("modelyard revisions digits", 0, re.compile(r"\n3 +current, good .*\n2 .*\n1 ")),
    ("mkdir", 0, ""),
    ("modelyard deploy double", 0, "double is running"),
    ("modelyard predict double", 0, re.compile(r"y +FP64 +2 +2, 5\n")),
    ("curl", 0, '{"predictions":[2.0,5.0]}'),
    ("modelyard logs double", 0, "ready"),
    ("modelyard delete double", 0, "double is deleted"),
]


DEVICE_LINES: list[tuple[str, int, str | re.Pattern[str] | Callable[[str], bool]]] = [
    ("modelyard deploy a", 0, "a is running"),
    ("modelyard deploy b", 0, "b is running"),
    ("modelyard deploy c", 0, "Deploying c"),
    ("modelyard capacity", 0, re.compile(r"0 +gpu .*default/a(.*\n)+.*1 +default/c +0 +1 GPU .*held by a, b")),
    ("modelyard stop a", 0, "a is stopped"),
    ("modelyard start a --dry-run", 0, re.compile(r"a would wait(.*\n)+To fit +(b|c) would have to stop")),
    ("modelyard update b", 0, "b is updated"),
    ("modelyard start a", 0, "a is running"),
    ("modelyard namespace set", 0, re.compile("default")),
    ("modelyard doctor", 0, "Nothing is out of place"),
]


VERSION_LINES: list[tuple[str, int, str | re.Pattern[str] | Callable[[str], bool]]] = [
    ("modelyard push", 0, re.compile(r"reader is registered\n(.*\n)*reader@1\.0\.0 is published: .*, all of it new")),
    ("modelyard deploy live", 0, "live is running"),
    ("modelyard push", 0, re.compile(r"reader@1\.1\.0 is published: .*, 0 B of it new")),
    ("modelyard alias set", 0, "reader@stable is now 1.1.0"),
    ("modelyard status live", 0, "1.0.0; its source means 1.1.0 by now"),
    ("modelyard update live", 0, "live is updated"),
    ("modelyard alias rollback", 0, "reader@stable is now 1.0.0"),
    ("modelyard registry show", 0, re.compile(r"1\.1\.0 .*\n1\.0\.0 +stable")),
    ("modelyard registry diff", 0, re.compile(r"metrics.accuracy +- +0.96")),
    ("modelyard pull", 0, "reader@1.1.0 is in /tmp/"),
    ("modelyard verify", 0, "reader@1.0.0 is whole"),
    ("modelyard cache preload", 0, re.compile(r"reader@stable \(now 1\.0\.0\) is (being )?laid out")),
    ("modelyard cache pin", 0, "reader@^1 (now 1.1.0) stays in the cache"),
    ("modelyard cache", 0, re.compile(r"KEEPS(.*\n)+.*default/reader@stable +1\.0\.0 +preload")),
    ("modelyard mirror", 0, re.compile(r"reader +1\.0\.0 .*\nreader +1\.1\.0 ")),
    ("modelyard cleanup", 0, "0 version(s) removed from the cache"),
    ("modelyard keys generate", 0, "release.key is the private key"),
    ("modelyard keys trust", 0, "release may sign versions of namespace default"),
    ("modelyard sign", 0, "reader@1.1.0 is signed by release"),
    ("modelyard verify", 0, re.compile(r"reader@1\.1\.0 is whole: .*, signed by release")),
    ("modelyard keys require", 0, "are served from signed versions only"),
    ("modelyard keys revoke", 0, "release is revoked"),
    ("modelyard keys require", 0, "are served from unsigned versions too"),
]


OPTIMIZATION_LINES: list[tuple[str, int, str | re.Pattern[str] | Callable[[str], bool]]] = [
    ("modelyard convert", 0, re.compile(r"100\.00% of the labels are equal.*\nquick@1\.0\.0 is published")),
    ("modelyard deploy quick", 0, "quick is running"),
    ("modelyard tune quick", 0, re.compile(r"THREADS +ROWS(.*\n)+(Better|Nothing to change): ")),
]


def test_every_line_about_smaller_models_does_what_it_says(demo: Yard) -> None:
    section = README.split("## Smaller and faster\n")[1].split("\n## ")[0]
    run(Shell(demo), BLOCK.findall(section), OPTIMIZATION_LINES)


TRAFFIC_LINES: list[tuple[str, int, str | re.Pattern[str] | Callable[[str], bool]]] = [
    ("modelyard deploy digits-b", 0, "digits-b is running"),
    ("modelyard traffic set", 0, "digits is updated"),
    ("modelyard traffic digits", 0, re.compile(r"digits +80 % .*front\n *digits-b +20 % .*Not enough requests yet")),
    ("modelyard traffic set", 0, "digits is updated"),
    ("modelyard traffic clear", 0, "digits is updated"),
    ("modelyard update digits", 0, "digits is updated"),
    ("modelyard update digits", 0, "Updating digits"),
    ("modelyard rollout status", 0, re.compile(r"Canary +\d % of the requests")),
    ("modelyard rollout promote", 0, re.compile("digits: revision")),
]


def test_every_line_about_traffic_does_what_it_says(demo: Yard) -> None:
    section = README.split("## Sharing traffic\n")[1].split("\n## ")[0]
    run(Shell(demo), BLOCK.findall(section), TRAFFIC_LINES)


def test_every_line_about_versions_does_what_it_says(demo: Yard) -> None:
    section = README.split("## Versions\n")[1].split("\n## ")[0].replace("/tmp/reader", f"{demo.home.parent}/reader")
    run(Shell(demo), BLOCK.findall(section), VERSION_LINES)


def test_every_line_of_the_five_minutes_does_what_it_says(user: Yard) -> None:
    user.ok("up", "--demo", "--detach")
    section = README.split("## Five minutes\n")[1].split("\n## ")[0]
    section = section.replace(":8900", f":{user.port}").replace("/tmp/double", f"{user.home.parent}/double")
    blocks = BLOCK.findall(section)
    shell = Shell(user)
    run(shell, blocks, LINES)
    (program,) = (block for kind, block in blocks if kind == "python")
    done = shell.python(program)
    assert done.returncode == 0, done.stderr
    assert re.match(r"running\n.*label", done.stdout), done.stdout


def test_every_line_about_devices_does_what_it_says(demo: Yard) -> None:
    section = README.split("## More models than devices\n")[1].split("\n## ")[0]
    run(Shell(demo), BLOCK.findall(section), DEVICE_LINES)


def run(shell: Shell, blocks: list[tuple[str, str]], expectations: list[Any]) -> None:
    found = [line for kind, block in blocks if kind == "sh" for line in lines(block)]
    found = [line for line in found if not line.startswith((". .venv/bin/activate", "make "))]
    for line, (beginning, exit_code, expected) in zip(found, expectations, strict=True):
        assert line.startswith(beginning)
        done = shell(line)
        said = done.stdout + done.stderr
        assert done.returncode == exit_code, f"{line}\n{said}"
        if isinstance(expected, str):
            assert expected in said, line
        elif isinstance(expected, re.Pattern):
            assert expected.search(said), f"{line}\n{said}"
        else:
            assert expected(done.stdout), f"{line}\n{said}"


def test_the_lines_that_up_prints_to_try_work_as_they_stand(demo: Yard) -> None:
    shell = Shell(demo)
    printed = shell("modelyard up --demo --detach").stdout.split("\nTry\n")[1]
    ask, predict, stop, start = lines(printed)
    assert answers(shell(ask).stdout)
    assert ROW_OF_DIGITS.search(shell(predict).stdout)
    assert "is stopped" in shell(stop).stdout
    assert "is running" in shell(start).stdout


def test_the_readme_lists_the_exit_codes_that_there_are() -> None:
    (listed,) = re.findall(r"^Exit codes: (.*?)\.$", README, re.MULTILINE | re.DOTALL)
    assert " ".join(listed.split()) == ", ".join(f"{code.value} {meaning}" for code, meaning in MEANING.items())


def test_every_line_about_models_from_files_does_what_it_says(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = README.split("## Models from files, and in your own application\n")[1].split("\n## ")[0]
    (_, shell_block), (_, program) = BLOCK.findall(section)
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    port = free_port()
    yard = Yard(home=folder / ".modelyard", port=port, environment={"HOME": str(folder)})
    models = yard.home / "models"
    try:
        shutil.copytree(trained, models)
        serve, ready, infer, status = lines(shell_block.replace("8901", str(port)))
        shell = Shell(yard)
        assert serve.startswith("modelyard serve ")
        with shell.begin(serve) as server:
            assert server.stdout is not None
            assert any(line.startswith("models ready") for line in server.stdout)
            assert json.loads(shell(ready).stdout)["ready"]
            assert answers(shell(infer).stdout)
            assert json.loads(shell(status).stdout)["models"]["wine"]["state"] == "unloaded"
            server.terminate()
            server.stdout.read()
        monkeypatch.chdir(models)
        made: dict[str, Any] = {}
        exec(program, made)
        with TestClient(made["app"]) as client:
            assert client.get("/score?text=hello").json() == 1.0
            sample = (models / "digits" / "sample.json").read_bytes()
            assert answers(client.post("/models/v2/models/digits/infer", content=sample).text)
    finally:
        shutil.rmtree(folder)
