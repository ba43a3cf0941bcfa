"""Rules and webhooks by the command line, with a real Modelyard."""

from __future__ import annotations

import json

from tests.cli.yard import Yard


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
    yard.ok("webhooks", "delete", "mine")
