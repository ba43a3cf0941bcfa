"""What of webhooks is secret, and where nothing is sent."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from modelyard.client import webhooks as receivers
from modelyard.control.alert_desk import Set
from modelyard.domain.errors import InvalidRequest
from modelyard.domain.masking import masked, without_path
from modelyard.domain.webhooks import Webhook
from modelyard.observe.webhooks import WebhookSender
from modelyard.registry.admitting import Hosts
from modelyard.store import SqlStore
from tests.store.alerting.house import House, house
from tests.store.receiver import receiving


async def test_for_a_day_after_a_rotation_both_secrets_sign(yard: House) -> None:
    async with receiving() as receiver:
        old = await yard.hook("on-call", receiver.url)
        hook = await yard.desk.webhook("", "on-call")
        _, new = await yard.desk.set_webhook(Set(webhook=hook, rotate=True), hook.version)
        assert new not in (None, old)
        assert new is not None
        for secret, hours in ((old, 0), (new, 0), (new, 25)):
            yard.clock.later(hours=hours)
            count = len(receiver.requests)
            await yard.desk.test("", "on-call")
            request = (await receiver.until(count + 1))[-1]
            signature, now = request.headers["x-modelyard-signature"], yard.clock().timestamp()
            receivers.verify(secret, signature, request.body, now=now)
        with pytest.raises(receivers.NotGenuine):
            receivers.verify(old, signature, request.body, now=now)
        with pytest.raises(receivers.NotGenuine, match="ago"):
            receivers.verify(new, signature, request.body, now=now + 301)
        with pytest.raises(receivers.NotGenuine):
            receivers.verify(new, signature, request.body + b" ", now=now)


async def test_headers_that_are_stored_go_to_no_other_host(yard: House) -> None:
    now, headers = yard.clock(), {"Authorization": "Bearer tops3cret"}
    webhook = Webhook(namespace="", name="on-call", url="", created_at=now, updated_at=now)
    await yard.desk.set_webhook(Set(webhook=webhook, url="http://127.0.0.1/a", headers=headers), None)
    for elsewhere in ("http://127.0.0.1:81/a", "https://127.0.0.1/a", "http://127.0.0.2/a"):
        with pytest.raises(InvalidRequest) as refused:
            await yard.desk.set_webhook(Set(webhook=webhook, url=elsewhere), None)
        assert [problem.path for problem in refused.value.problems] == ["headers"]
    kept, _ = await yard.desk.set_webhook(Set(webhook=webhook, url="http://127.0.0.1:80/b"), None)
    assert kept.header_names == ("Authorization",)
    moved, _ = await yard.desk.set_webhook(Set(webhook=webhook, url="http://127.0.0.1:81/a", headers={}), None)
    assert moved.header_names == ()


async def test_secrets_headers_and_the_path_of_the_url_are_nowhere_in_the_database_and_the_logs(
    yard: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with receiving() as receiver:
        now, url = yard.clock(), f"{receiver.url}/services/pathsecret?key=quer1"
        webhook = Webhook(namespace="", name="on-call", url="", created_at=now, updated_at=now)
        wanted = Set(webhook=webhook, url=url, headers={"Authorization": "Bearer tops3cret"})
        set_, secret = await yard.desk.set_webhook(wanted, None)
        await yard.desk.test("", "on-call")
        request = (await receiver.until(1))[0]
        assert (request.path, request.headers["authorization"]) == (
            "/services/pathsecret?key=quer1",
            "Bearer tops3cret",
        )
        await yard.settled("on-call")
        # As it is shown it is the same.
        same, _ = await yard.desk.set_webhook(Set(webhook=webhook, url=set_.url), None)
        assert same.url == set_.url == f"{receiver.url}/(hidden)"
        await yard.desk.test("", "on-call")
        assert (await receiver.until(2))[1].path == request.path
    # Nobody listens there any more.
    await yard.desk.test("", "on-call")
    failed = [d for d in await yard.settled("on-call") if d.error]
    assert failed[0].error.startswith("not reached: ")
    assert secret is not None
    stored = b"".join(path.read_bytes() for path in yard.home.glob("state.db*"))
    assert b"on-call" in stored
    for hidden in ("tops3cret", "pathsecret", "quer1", secret):
        assert hidden.encode() not in stored
        assert hidden not in caplog.text
        assert hidden not in repr((wanted, set_, failed))
    assert (yard.home / "secrets.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example/services/T0/B1/x", "https://hooks.example/(hidden)"),
        ("https://hooks.example:8443?token=x", "https://hooks.example:8443/(hidden)"),
        ("http://hooks.example/", "http://hooks.example"),
        ("https://me:pw@hooks.example/x", "https://hooks.example/(hidden)"),
        ("hooks.example/services/x", "(hidden)"),
    ],
)
def test_of_the_url_of_a_webhook_the_host_is_shown(url: str, shown: str) -> None:
    assert without_path(url) == shown == without_path(shown)
    assert masked({"url": url, "kinds": []}) == {"url": shown, "kinds": []}


async def test_nothing_is_sent_to_this_machine_unless_its_administrator_allows_it(store: SqlStore, home: Path) -> None:
    async with receiving() as receiver, house(store, home, hosts=Hosts()) as yard:
        for url in (receiver.url, "http://169.254.169.254/latest", "http://[::1]:1/", "http://localhost:1/"):
            with pytest.raises(InvalidRequest) as refused:
                await yard.hook("on-call", url)
            assert refused.value.problems[0].code == "host_refused"
        # Of a name that meant another address when it was set.
        attempt = await WebhookSender(Hosts()).send(f"{receiver.url}/", {}, b"{}")
        assert "MODELYARD_WEBHOOK_HOSTS" in attempt.error
        assert not receiver.requests
