"""Every request on alerts, rules and webhooks as a value, as in :mod:`modelyard.client.calls`. Those on rules and
webhooks are of a namespace, or (None) of the installation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from modelyard.client import alert_types, types
from modelyard.client.calls import API, READ, Call, get, post, write

_alert: Final = partial(types.parse, alert_types.Alert)
_rule: Final = partial(types.parse, alert_types.AlertRule)
_webhook: Final = partial(types.parse, alert_types.Webhook)
_delivery: Final = partial(types.parse, alert_types.Delivery)
_deliveries: Final = partial(types.parse_page, alert_types.Delivery)


def _path(namespace: str | None, *rest: str) -> str:
    prefix = API if namespace is None else f"{API}/namespaces/{quote(namespace, safe='')}"
    return "/".join([prefix, *(quote(part, safe="") for part in rest)])


def _delete(path: str, version: int | None = None) -> Call[None]:
    headers = {} if version is None else {"If-Match": f'"{version}"'}
    return Call(method="DELETE", path=path, read=lambda _: None, headers=headers, repeatable=False)


def list_alerts(**filters: object) -> Call[types.Page[alert_types.Alert]]:
    return get(f"{API}/alerts", partial(types.parse_page, alert_types.Alert), READ, **filters)


def get_alert(fingerprint: str) -> Call[alert_types.Alert]:
    return get(_path(None, "alerts", fingerprint), _alert)


def silence(fingerprint: str, until: datetime, reason: str) -> Call[alert_types.Alert]:
    body = {"until": until.isoformat(), "reason": reason}
    return write("PUT", _path(None, "alerts", fingerprint, "silence"), _alert, body)


def end_silence(fingerprint: str) -> Call[None]:
    return _delete(_path(None, "alerts", fingerprint, "silence"))


def list_rules(namespace: str | None) -> Call[list[alert_types.AlertRule]]:
    return get(_path(namespace, "alert-rules"), partial(types.parse_items, alert_types.AlertRule))


def get_rule(namespace: str | None, name: str) -> Call[alert_types.AlertRule]:
    return get(_path(namespace, "alert-rules", name), _rule)


def set_rule(
    namespace: str | None, name: str, rule: Mapping[str, Any], version: int | None
) -> Call[alert_types.AlertRule]:
    return write("PUT", _path(namespace, "alert-rules", name), _rule, dict(rule), version)


def delete_rule(namespace: str | None, name: str, version: int | None) -> Call[None]:
    return _delete(_path(namespace, "alert-rules", name), version)


def list_webhooks(namespace: str | None) -> Call[list[alert_types.Webhook]]:
    return get(_path(namespace, "webhooks"), partial(types.parse_items, alert_types.Webhook))


def get_webhook(namespace: str | None, name: str) -> Call[alert_types.Webhook]:
    return get(_path(namespace, "webhooks", name), _webhook)


def set_webhook(
    namespace: str | None, name: str, webhook: Mapping[str, Any], version: int | None
) -> Call[alert_types.Webhook]:
    # Not repeatable: of two answers only one would have the secret.
    return replace(
        write("PUT", _path(namespace, "webhooks", name), _webhook, dict(webhook), version), repeatable=False
    )  # fmt: skip


def delete_webhook(namespace: str | None, name: str, version: int | None) -> Call[None]:
    return _delete(_path(namespace, "webhooks", name), version)


def test_webhook(namespace: str | None, name: str) -> Call[alert_types.Delivery]:
    return post(_path(namespace, "webhooks", name, "test"), _delivery, {}, keyed=False)


def deliveries(namespace: str | None, name: str, page_size: int | None) -> Call[types.Page[alert_types.Delivery]]:
    return get(_path(namespace, "webhooks", name, "deliveries"), _deliveries, READ, page_size=page_size)


def dead_letters(namespace: str | None, page_size: int | None) -> Call[types.Page[alert_types.Delivery]]:
    return get(_path(namespace, "dead-letters"), _deliveries, READ, page_size=page_size)


def retry(namespace: str | None, delivery_id: str) -> Call[alert_types.Delivery]:
    return post(_path(namespace, "dead-letters", delivery_id, "retry"), _delivery, {}, keyed=False)


def drop(namespace: str | None, delivery_id: str) -> Call[None]:
    return _delete(_path(namespace, "dead-letters", delivery_id))
