"""The columns as the queries see them.

What the database guards (checks, foreign keys, indexes, append-only events) is written in the
migrations, which alone create tables; a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, DateTime, Double, Identity, Integer, MetaData, Table, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from modelyard.domain.latency import BOUNDS
from modelyard.store.codec import clean

MAX_BIGINT = 2**63 - 1


class Str(TypeDecorator[str]):
    """Text that every database accepts: enums by value, no NUL, no lone surrogates."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean(str(value))


class Utc(TypeDecorator[datetime]):
    """An aware time, in UTC on both sides. SQLite keeps it as text whose order is the order of time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is UTC:
            return value
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# A document of codec.py: the engines pass JSON columns through as text.
Document = JSON(none_as_null=True)
# The id of an event; SQLite numbers rows by itself only in a column of exactly this type.
_EventId = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()


def _column(name: str, type_: Any, *, null: bool = False, key: bool = False) -> Column[Any]:
    return Column(name, type_, nullable=null, primary_key=key, autoincrement=False)


namespaces = Table(
    "namespaces",
    metadata,
    _column("name", Str, key=True),
    _column("description", Str),
    _column("created_at", Utc),
    _column("quota", Document, null=True),
    _column("require_signature", Boolean),
    _column("features", Document),
)

models = Table(
    "models",
    metadata,
    _column("uid", Str, key=True),
    _column("namespace", Str),
    _column("name", Str),
    _column("engine", Str),
    _column("desired", Str),
    _column("state", Str),
    _column("generation", BigInteger),
    _column("target_generation", BigInteger),
    _column("version", BigInteger),
    _column("created_at", Utc),
    _column("updated_at", Utc),
    _column("spec", Document),
    _column("status", Document),
    _column("site", Str),
)

model_labels = Table(
    "model_labels",
    metadata,
    _column("model_uid", Str, key=True),
    _column("key", Str, key=True),
    _column("value", Str),
)

model_groups = Table(
    "model_groups",
    metadata,
    _column("model_uid", Str, key=True),
    _column("group", Str, key=True),
)

members = Table(
    "members",
    metadata,
    _column("namespace", Str, key=True),
    _column("kind", Str, key=True),
    _column("value", Str, key=True),
    _column("role", Str),
    _column("models", Document),
    _column("added_at", Utc),
    _column("added_by", Str),
    _column("reason", Str),
)

api_keys = Table(
    "api_keys",
    metadata,
    _column("id", Str, key=True),
    _column("namespace", Str),
    _column("name", Str),
    _column("digest", Str),
    _column("role", Str),
    _column("models", Document),
    _column("groups", Document),
    _column("rate", Document, null=True),
    _column("created_at", Utc),
    _column("created_by", Str),
    _column("expires_at", Utc, null=True),
    _column("revoked_at", Utc, null=True),
    _column("last_used_at", Utc, null=True),
    _column("previous_digest", Str),
    _column("previous_until", Utc, null=True),
)

revisions = Table(
    "revisions",
    metadata,
    _column("model_uid", Str, key=True),
    _column("generation", BigInteger, key=True),
    _column("created_at", Utc),
    _column("actor", Str),
    _column("reason", Str),
    _column("spec", Document),
    _column("failure", Document, null=True),
)

operations = Table(
    "operations",
    metadata,
    _column("id", Str, key=True),
    _column("kind", Str),
    _column("state", Str),
    _column("namespace", Str),
    _column("model", Str),
    _column("model_uid", Str),
    _column("actor", Str),
    _column("reason", Str),
    _column("created_at", Utc),
    _column("updated_at", Utc),
    _column("target", Document, null=True),
    _column("steps", Document),
    _column("result", Document, null=True),
    _column("error", Document, null=True),
    _column("warnings", Document, null=True),
)

events = Table(
    "events",
    metadata,
    Column("id", _EventId, Identity(always=True), primary_key=True),
    _column("at", Utc),
    _column("namespace", Str),
    _column("model", Str),
    _column("model_uid", Str),
    _column("type", Str),
    _column("reason", Str),
    _column("message", Str),
    _column("actor", Str),
    _column("data", Document),
)

sites = Table(
    "sites",
    metadata,
    _column("id", Str, key=True),
    _column("machine", Str),
    _column("home", Str),
    _column("url", Str),
    _column("inventory", Document, null=True),
    _column("holder", Document, null=True),
    _column("token", BigInteger),
    _column("expires_at", Utc, null=True),
    _column("down", Boolean),
    _column("seen_at", Utc),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    _column("scope", Str, key=True),
    _column("key", Str, key=True),
    _column("fingerprint", Str),
    _column("operation_id", Str),
    _column("created_at", Utc),
)

registered_models = Table(
    "registered_models",
    metadata,
    _column("uid", Str, key=True),
    _column("namespace", Str),
    _column("name", Str),
    _column("series", Str),
    _column("version", BigInteger),
    _column("created_at", Utc),
    _column("updated_at", Utc),
    _column("deleted_at", Utc, null=True),
    _column("purge_at", Utc, null=True),
    _column("searched", Str),
    _column("about", Document),
)

registered_model_labels = Table(
    "registered_model_labels",
    metadata,
    _column("model_uid", Str, key=True),
    _column("key", Str, key=True),
    _column("value", Str),
)

registered_versions = Table(
    "registered_versions",
    metadata,
    _column("model_uid", Str, key=True),
    _column("version", Str, key=True),
    _column("precedence", Str),
    _column("prerelease", Boolean),
    _column("framework", Str),
    _column("manifest", Str),
    _column("edits", BigInteger),
    _column("published_at", Utc),
    _column("published_by", Str),
    _column("reason", Str),
    _column("deleted_at", Utc, null=True),
    _column("purge_at", Utc, null=True),
    _column("identity", Document),
    _column("notes", Document),
    _column("card", Str),
)

version_aliases = Table(
    "version_aliases",
    metadata,
    _column("model_uid", Str, key=True),
    _column("alias", Str, key=True),
    _column("version", Str),
    _column("moves", BigInteger),
)

alias_moves = Table(
    "alias_moves",
    metadata,
    _column("model_uid", Str, key=True),
    _column("alias", Str, key=True),
    _column("number", BigInteger, key=True),
    _column("kind", Str),
    _column("before", Str, null=True),
    _column("after", Str, null=True),
    _column("at", Utc),
    _column("actor", Str),
    _column("reason", Str),
)

buried_versions = Table(
    "buried_versions",
    metadata,
    _column("namespace", Str, key=True),
    _column("name", Str, key=True),
    _column("version", Str, key=True),
    _column("manifest", Str),
    _column("buried_at", Utc),
)

trusted_keys = Table(
    "trusted_keys",
    metadata,
    _column("namespace", Str, key=True),
    _column("fingerprint", Str, key=True),
    _column("name", Str),
    _column("kind", Str),
    _column("public_key", Str),
    _column("trusted_at", Utc),
    _column("trusted_by", Str),
    _column("reason", Str),
    _column("revoked_at", Utc, null=True),
    _column("revoked_by", Str),
    _column("revoked_for", Str),
)

version_signatures = Table(
    "version_signatures",
    metadata,
    _column("model_uid", Str, key=True),
    _column("version", Str, key=True),
    _column("fingerprint", Str, key=True),
    _column("kind", Str),
    _column("manifest", Str),
    _column("bundle", Str),
    _column("checked_at", Utc),
    _column("added_at", Utc),
    _column("added_by", Str),
    _column("reason", Str),
)

transfers = Table(
    "transfers",
    metadata,
    _column("id", Str, key=True),
    _column("kind", Str),
    _column("state", Str),
    _column("phase", Str, null=True),
    _column("namespace", Str),
    _column("model", Str),
    _column("version", Str, null=True),
    _column("manifest", Str),
    _column("source", Str),
    _column("site", Str),
    _column("actor", Str),
    _column("reason", Str),
    _column("attempt", Integer),
    _column("claim", Str),
    _column("done", BigInteger),
    _column("total", BigInteger, null=True),
    _column("rate", Double),
    _column("created_at", Utc),
    _column("updated_at", Utc),
    _column("ended_at", Utc, null=True),
    _column("order", Document),
    _column("error", Document, null=True),
)

pins = Table(
    "pins",
    metadata,
    _column("site", Str, key=True),
    _column("namespace", Str, key=True),
    _column("reference", Str, key=True),
    _column("preload", Boolean, key=True),
    _column("at", Utc),
    _column("actor", Str),
    _column("reason", Str),
)

schedules = Table(
    "schedules",
    metadata,
    _column("model_uid", Str, key=True),
    _column("enabled", Boolean),
    _column("edits", BigInteger),
    _column("version", BigInteger),
    _column("updated_at", Utc),
    _column("updated_by", Str),
    _column("handled_until", Utc),
    _column("extension", Document, null=True),
    _column("schedule", Document),
    _column("last", Document, null=True),
    _column("failure", Document, null=True),
)

bulks = Table(
    "bulks",
    metadata,
    _column("operation_id", Str, key=True),
    _column("site", Str),
    _column("cancelled_by", Str),
    _column("order", Document),
)

bulk_items = Table(
    "bulk_items",
    metadata,
    _column("bulk_id", Str, key=True),
    _column("position", Integer, key=True),
    _column("namespace", Str),
    _column("model", Str),
    _column("model_uid", Str),
    _column("state", Str),
    _column("operation_id", Str, null=True),
    _column("code", Str),
    _column("message", Str),
    _column("asked_at", Utc),
    _column("launches", Boolean),
)

alert_rules = Table(
    "alert_rules",
    metadata,
    _column("namespace", Str, key=True),
    _column("name", Str, key=True),
    _column("version", BigInteger),
    _column("rule", Document),
)

webhooks = Table(
    "webhooks",
    metadata,
    _column("namespace", Str, key=True),
    _column("name", Str, key=True),
    _column("version", BigInteger),
    _column("created_at", Utc),
    _column("updated_at", Utc),
    _column("webhook", Document),
    _column("sealed", Str),
)

alerts = Table(
    "alerts",
    metadata,
    _column("id", Str, key=True),
    _column("fingerprint", Str),
    _column("site", Str),
    _column("rule", Str),
    _column("kind", Str),
    _column("severity", Str),
    _column("namespace", Str),
    _column("model", Str),
    _column("model_uid", Str),
    _column("state", Str),
    _column("starts_at", Utc),
    _column("bad_at", Utc),
    _column("ends_at", Utc, null=True),
    _column("value", Double, null=True),
    _column("threshold", Double),
    _column("message", Str),
    _column("notified", Boolean),
    _column("told", Document),
)

alert_silences = Table(
    "alert_silences",
    metadata,
    _column("fingerprint", Str, key=True),
    _column("until", Utc),
    _column("at", Utc),
    _column("actor", Str),
    _column("reason", Str),
)

alert_cursors = Table(
    "alert_cursors",
    metadata,
    _column("site", Str, key=True),
    _column("event_id", BigInteger),
)

deliveries = Table(
    "deliveries",
    metadata,
    _column("id", Str, key=True),
    _column("site", Str),
    _column("namespace", Str),
    _column("webhook", Str),
    _column("event", Str),
    _column("line", Str),
    _column("place", Integer),
    _column("alert", Document, null=True),
    _column("state", Str),
    _column("created_at", Utc),
    _column("since", Utc),
    _column("next_at", Utc),
    _column("attempts", Integer),
    _column("last_at", Utc, null=True),
    _column("status", Integer, null=True),
    _column("error", Str),
)

sign_in_codes = Table(
    "sign_in_codes",
    metadata,
    _column("digest", Str, key=True),
    _column("sealed", Str),
    _column("expires_at", Utc),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    _column("number", BigInteger, key=True),
    _column("at", Utc),
    _column("actor", Str),
    _column("actor_kind", Str),
    _column("action", Str),
    _column("namespace", Str),
    _column("kind", Str),
    _column("name", Str),
    _column("reason", Str),
    _column("address", Str),
    _column("client", Str),
    _column("request", Str),
    _column("outcome", Str),
    _column("code", Str),
    _column("change", Document),
    _column("previous", Str),
    _column("hash", Str),
)

audit_chain = Table(
    "audit_chain",
    metadata,
    _column("id", Integer, key=True),
    _column("number", BigInteger),
    _column("hash", Str),
    _column("kept_number", BigInteger),
    _column("kept_hash", Str),
    _column("kept_at", Utc, null=True),
)

policies = Table(
    "policies",
    metadata,
    _column("namespace", Str, key=True),
    _column("name", Str, key=True),
    _column("version", BigInteger),
    _column("created_at", Utc),
    _column("changed_at", Utc),
    _column("changed_by", Str),
    _column("body", Document),
)

policy_overrides = Table(
    "policy_overrides",
    metadata,
    _column("model_uid", Str, key=True),
    _column("scope", Str, key=True),
    _column("policy", Str, key=True),
    _column("reason", Str),
    _column("created_by", Str),
    _column("created_at", Utc),
    _column("expires_at", Utc),
)

policy_marks = Table(
    "policy_marks",
    metadata,
    _column("model_uid", Str, key=True),
    _column("scope", Str, key=True),
    _column("policy", Str, key=True),
    _column("kind", Str, key=True),
    _column("at", Utc),
)

# How long requests took: one column for each bucket of domain/latency.py, so that the database can add them up.
TOOK = [f"took_{bucket}" for bucket in range(len(BOUNDS) + 1)]

model_metrics = Table(
    "model_metrics",
    metadata,
    _column("model_uid", Str, key=True),
    # 60 or 3600 seconds, from ``at`` on (seconds of the epoch).
    _column("length", Integer, key=True),
    _column("at", BigInteger, key=True),
    _column("requests", BigInteger),
    _column("errors", BigInteger),
    _column("rejected", BigInteger),
    _column("busy", Double),
    *(_column(name, BigInteger) for name in TOOK),
    _column("instances", Integer, null=True),
    _column("memory", BigInteger, null=True),
)

metric_totals = Table(
    "metric_totals",
    metadata,
    _column("model_uid", Str, key=True),
    _column("site", Str),
    _column("gateway", Str),
    _column("totals", Document),
)
