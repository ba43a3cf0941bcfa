"""Policies from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.yard import Yard

POLICY = """
name: cli-keep
selector: {models: [cli-kept]}
rules:
  protected: true
  max_run_time: 2h
  shutdown:
    timezone: UTC
    windows: [{from: "friday 20:00", to: "monday 06:00"}]
"""


def test_a_policy_is_previewed_set_explained_overridden_and_deleted(yard: Yard, tmp_path: Path) -> None:
    file = tmp_path / "keep.yaml"
    file.write_text(POLICY)
    yard.ok("deploy", "cli-kept", "--engine", "mock", "--stopped")
    assert "1 model(s) selected, 0 with a stop to come" in yard.ok("policy", "preview", "-f", str(file))
    yard.ok("policy", "set", "-f", str(file), "--reason", "it is ours")
    listed = yard.ok("policy", "list")
    assert "models cli-kept" in listed
    assert "shutdown, max_run_time, protected" in listed
    shown = yard.ok("policy", "show", "cli-keep")
    assert "from: friday 20:00" in shown
    assert "max_run_time: 2h" in shown
    explained = json.loads(yard.ok("policy", "explain", "cli-kept", "-o", "json"))
    assert {r["rule"]: r["standing"] for r in explained["rulings"]} == {
        "shutdown": "shielded", "max_run_time": "shielded", "protected": "in_force",
    }  # fmt: skip
    refused = yard.run("delete", "cli-kept", "--yes")
    assert refused.returncode != 0
    assert "--override" in refused.stderr
    said = yard.ok("policy", "override", "cli-kept", "cli-keep", "--reason", "it leaks", "--for", "4h")
    assert "does not hold for cli-kept until" in said
    yard.ok("delete", "cli-kept", "--yes")
    yard.ok("policy", "delete", "cli-keep")
