"""docs/administration.md: each command in it does something as it stands, in the order of the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modelyard.cli.main import app
from modelyard.cli.problems import exit_code
from modelyard.client import ModelyardError
from tests.cli.yard import Yard

PAGE = (Path(__file__).parents[2] / "docs" / "administration.md").read_text()
BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What the page takes for granted: models, and files beside them.
MODELS = [
    "deploy pat --engine mock --memory 512Mi --label tier=batch --stopped",
    "deploy digits --engine mock --label team=a",
    "-n vision deploy cats --engine mock --memory 512Mi",
    "-n speech deploy asr --engine mock --cpu 1",
]
FILES = {
    "db-password": "secret\n",
    "office-hours.yaml": 'type: recurring\ntimezone: UTC\nrecurring: {start: "08:00", stop: "20:00"}\n',
}
# Lines about what there is none of here, and one that is about the time of the day; None: it asks the internet.
OTHERWISE = {
    "alerts silence": {3}, "webhooks retry": {3}, "audit show": {3}, "schedule extend": {0, 7}, "webhooks test": None,
}  # fmt: skip


def test_every_command_of_the_page_does_something(own: Yard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own.ok("up", "--detach")
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    runner, env, head = CliRunner(), {"MODELYARD_HOME": str(own.home)}, ""

    def run(words: list[str]) -> tuple[int, str]:
        done = runner.invoke(app, words, env=env)
        if isinstance(done.exception, ModelyardError):
            return exit_code(done.exception), str(done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit), (words, done.exception)
        return done.exit_code, done.output

    blocks = BLOCK.findall(PAGE)
    assert len(blocks) > 9
    for number, (kind, block) in enumerate(blocks):
        if kind == "yaml":
            (tmp_path / block.split()[1]).write_text(block)
            continue
        for line in block.splitlines():
            first, *words = shlex.split(line, comments=True)
            if first == "export":
                name, _, value = words[0].partition("=")
                env[name] = value
                continue
            assert first == "modelyard", line
            allowed = next((codes for start, codes in OTHERWISE.items() if " ".join(words).startswith(start)), {0})
            if allowed is not None:
                code, said = run([head if word == "HASH" else word for word in words])
                assert code in allowed, f"{line}\n{said}"
                head = found[1] if (found := re.search(r"head is entry \d+: (\w+)", said)) else head
        if number == 0:
            failed = [said for code, said in (run(shlex.split(line)) for line in MODELS) if code]
            assert not failed
