"""Domain objects to JSON documents and back.

A document outlives the code that wrote it: fields that are unknown now are ignored, missing ones
take the dataclass's default. A change that neither covers (a rename) needs a migration. Specs and statuses
that hold what is not known now are read by salvage.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from modelyard.control.ports import Holder
from modelyard.domain.alerts import Alert, AlertKind, AlertRule, Severity
from modelyard.domain.bulk import Order as BulkOrder
from modelyard.domain.capacity import Inventory
from modelyard.domain.model import Quota, Target
from modelyard.domain.operations import Step
from modelyard.domain.registry import About, Identity, Notes
from modelyard.domain.schedules import Extension, Schedule
from modelyard.domain.scheduling import LastAction, ScheduleFailure
from modelyard.domain.transfers import Order, TransferError
from modelyard.domain.webhooks import WebhookFormat


class WebhookDocument(msgspec.Struct, kw_only=True):
    """What of a webhook has no column of its own (:class:`modelyard.domain.webhooks.Webhook`)."""

    url: str
    format: WebhookFormat = WebhookFormat.MODELYARD
    kinds: tuple[AlertKind, ...] = ()
    severities: tuple[Severity, ...] = ()
    namespaces: tuple[str, ...] = ()
    header_names: tuple[str, ...] = ()
    enabled: bool = True
    rotated_until: datetime | None = None


# A JSON column's raw content: text from SQLite, bytes from psycopg.
Raw = str | bytes


def _plain(value: Any) -> Any:
    """What msgspec cannot encode by itself: mappings other than dict (a mapping proxy, say)."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be stored")


_encoder: Final = msgspec.json.Encoder(enc_hook=_plain)


def encode(value: object) -> str:
    """``value`` as JSON text. Text that is not Unicode (a stray byte of a log line that was decoded
    leniently) is replaced rather than allowed to block the write of a status for good."""
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError:
        return _encoder.encode(_unicode(msgspec.to_builtins(value, enc_hook=_plain))).decode()


def clean(text: str) -> str:
    """``text`` as both databases can hold it: Unicode without NUL (which PostgreSQL's text refuses)."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace("\x00", "\ufffd")


def _unicode(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_unicode(k): _unicode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_unicode(v) for v in value]
    return value


decode_target: Final = msgspec.json.Decoder(Target).decode
decode_steps: Final = msgspec.json.Decoder(tuple[Step, ...]).decode
decode_mapping: Final = msgspec.json.Decoder(dict[str, Any]).decode
decode_texts: Final = msgspec.json.Decoder(tuple[str, ...]).decode
decode_quota: Final = msgspec.json.Decoder(Quota).decode
decode_inventory: Final = msgspec.json.Decoder(Inventory).decode
decode_holder: Final = msgspec.json.Decoder(Holder).decode
decode_about: Final = msgspec.json.Decoder(About).decode
decode_identity: Final = msgspec.json.Decoder(Identity).decode
decode_notes: Final = msgspec.json.Decoder(Notes).decode
decode_order: Final = msgspec.json.Decoder(Order).decode
decode_transfer_error: Final = msgspec.json.Decoder(TransferError).decode
decode_schedule: Final = msgspec.json.Decoder(Schedule).decode
decode_extension: Final = msgspec.json.Decoder(Extension).decode
decode_last_action: Final = msgspec.json.Decoder(LastAction).decode
decode_schedule_failure: Final = msgspec.json.Decoder(ScheduleFailure).decode
decode_alert: Final = msgspec.json.Decoder(Alert).decode
decode_alert_rule: Final = msgspec.json.Decoder(AlertRule).decode
decode_webhook: Final = msgspec.json.Decoder(WebhookDocument).decode
decode_bulk_order: Final = msgspec.json.Decoder(BulkOrder).decode
