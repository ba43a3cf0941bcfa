"""Rules and webhooks by the command line, with a real Modelyard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelyard.client import Alert, ApiError, Modelyard
from tests.cli.yard import Yard, eventually


def test_rules_are_set_and_deleted_and_a_secret_is_shown_once(yard: Yard) -> None:
    assert "built in" in yard.ok("alerts", "rules", "list", "--installation")
    assert "error_rate" in yard.ok("alerts", "rules", "set", "errors", "--kind", "error_rate", "--threshold", "0.2")
    assert "deleted" in yard.ok("alerts", "rules", "delete", "errors")
    here = yard.run("webhooks", "set", "mine", "http://127.0.0.1:9/")
    assert (here.returncode, "MODELYARD_WEBHOOK_HOSTS" in here.stderr) == (7, True)
    set_ = yard.ok("webhooks", "set", "mine", "http://192.0.2.1/alerts", "--header", "X-Team: a", "--output", "json")
    assert json.loads(set_)["secret"].startswith("whsec_")
    listed = yard.ok("webhooks", "list")
    assert "192.0.2.1" in listed
    assert "whsec_" not in listed
    assert "/alerts" not in listed
    yard.ok("webhooks", "delete", "mine")


def test_a_model_that_answers_with_errors_is_told_of_and_silenced(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "class Model:\n    def load(self, folder): pass\n    def predict(self, inputs): raise RuntimeError('no')\n"
    )
    rule = {"kind": "error_rate", "threshold": 0.5, "window": "30s", "keep": "0s", "least": 5, "names": ["sour"]}
    with Modelyard(home=yard.home) as client:
        client.operations.wait(client.models.create("sour", {"engine": "python", "source": tmp_path.as_uri()}))

        def fires() -> list[Alert]:
            with pytest.raises(ApiError):
                client.predict("sour", {"x": [[1.0]]})
            # A rule that is set has it looked at: nobody waits for the next time.
            client.alerts.set_rule("sour", rule, namespace="default")
            return list(client.alerts.list(model="sour", state="firing"))

        [alert] = eventually(fires, "the alert fires")
        assert alert.kind == "error_rate"
        listed = yard.ok("alerts", "list")
        assert "default/sour" in listed
        assert "were errors" in listed
        shown = yard.ok("alerts", "show", alert.fingerprint)
        assert "Model default/sour answers with errors" in shown
        assert "modelyard logs sour -n default" in shown
        yard.ok("alerts", "silence", alert.fingerprint, "--for", "2h", "--reason", "known")
        assert "silenced until" in yard.ok("alerts", "list")
        client.operations.wait(client.models.delete("sour", force=True))
        eventually(lambda: client.alerts.get(alert.fingerprint).state == "resolved", "the alert is over")
        assert "alerts list -A" in yard.ok("alerts", "list", "-n", "elsewhere")
        client.alerts.delete_rule("sour", namespace="default")
