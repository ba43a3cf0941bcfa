"""What the record of who did what calls the requests that may change something: the thing, a full stop and what is done
to it, alike in the short form of a path and the long one.

Whoever filters the record, or keeps it for years, relies on these names: a route may be renamed, its action may not.
``python -m modelyard.api.actions`` writes the list for docs/administration.md.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from fastapi.routing import APIRoute

from modelyard.domain.audit import RETAIN
from modelyard.domain.recording import BY_ITSELF

# By the route's first tag and its name.
ACTIONS: Final[Mapping[str, str]] = {
    "models_create": "models.deploy",
    "models_put": "models.replace",
    "models_patch": "models.update",
    "models_delete": "models.delete",
    "models_start": "models.start",
    "models_stop": "models.stop",
    "models_stop_many_default": "models.stop_many",
    "models_stop_many_in_namespace": "models.stop_many",
    "models_restart": "models.restart",
    "models_redeploy": "models.redeploy",
    "models_rollback": "models.rollback",
    "models_terminate": "models.terminate",
    "models_rollout_pause": "models.pause_rollout",
    "models_rollout_resume": "models.resume_rollout",
    "models_rollout_cancel": "models.cancel_rollout",
    "models_rollout_force": "models.force_rollout",
    "models_rollout_promote": "models.promote_canary",
    "models_rollout_abort": "models.abort_canary",
    "models_rollout_percent": "models.set_canary",
    "models_override": "models.set_override",
    "models_end_override": "models.end_override",
    "models_put_schedule": "models.set_schedule",
    "models_delete_schedule": "models.remove_schedule",
    "models_enable_schedule": "models.enable_schedule",
    "models_disable_schedule": "models.disable_schedule",
    "models_extend_schedule": "models.extend_schedule",
    "models_end_extension": "models.end_extension",
    "bulk_bulk_everywhere": "bulk.begin",
    "bulk_bulk_in_namespace": "bulk.begin",
    "operations_cancel_operation": "operations.cancel",
    "registry_create": "registered_models.create",
    "registry_patch": "registered_models.update",
    "registry_delete": "registered_models.delete",
    "registry_restore": "registered_models.restore",
    "registry_publish": "versions.publish",
    "registry_import_version": "versions.import",
    "registry_patch_version": "versions.update",
    "registry_delete_version": "versions.delete",
    "registry_restore_version": "versions.restore",
    "registry_sign": "versions.sign",
    "registry_put_pin": "versions.pin",
    "registry_delete_pin": "versions.unpin",
    "registry_put_preload": "versions.preload",
    "registry_delete_preload": "versions.end_preload",
    "registry_put_alias": "aliases.set",
    "registry_delete_alias": "aliases.remove",
    "registry_roll_back_alias": "aliases.rollback",
    "registry_trust_key": "signing_keys.trust",
    "registry_revoke_key": "signing_keys.revoke",
    "registry_set_policy": "signatures.require",
    "registry_collect": "store.collect",
    "registry_clean_up": "cache.clean_up",
    "registry_objects_write": "objects.write",
    "registry_objects_touch": "objects.touch",
    "transfers_cancel_transfer": "transfers.cancel",
    "policies_put": "policies.set",
    "policies_delete": "policies.delete",
    "policies_preview": "policies.preview",
    "schedules_preview": "schedules.preview",
    "samples_deploy": "models.deploy",
    "alerts_put_silence": "alerts.silence",
    "alerts_delete_silence": "alerts.end_silence",
    "alerting_put_rule": "alert_rules.set",
    "alerting_delete_rule": "alert_rules.delete",
    "alerting_put_webhook": "webhooks.set",
    "alerting_delete_webhook": "webhooks.delete",
    "alerting_test_webhook": "webhooks.test",
    "alerting_retry_dead_letter": "dead_letters.retry",
    "alerting_delete_dead_letter": "dead_letters.delete",
    "namespaces_create_namespace": "namespaces.create",
    "namespaces_patch_namespace": "namespaces.update",
    "namespaces_delete_namespace": "namespaces.delete",
    "access_put_member": "members.set",
    "access_remove_member": "members.remove",
    "access_create_key": "api_keys.create",
    "access_rotate_key": "api_keys.rotate",
    "access_revoke_key": "api_keys.revoke",
    "session_sign_in": "sessions.begin",
    "session_oidc_callback": "sessions.begin",
    "session_sign_out": "sessions.end",
    "session_make_link": "sign_in_links.create",
    "doctor_clear": "doctor.clear",
    "audit_export_audit": "audit.export",
}
# Of requests that change nothing even when they are done.
HARMLESS: Final = frozenset({"policies.preview", "schedules.preview"})
# Of those that a flag ``dry_run`` in their query has change nothing; that of a request on many is in its body.
DRY_IN_QUERY: Final = frozenset({
    "models.deploy", "models.replace", "models.update", "models.start", "store.collect", "cache.clean_up"
})  # fmt: skip
DRY_IN_BODY: Final = frozenset({"bulk.begin"})
# Uploads mean nothing until a version is published.
UPLOADS: Final = frozenset({"objects.write", "objects.touch"})


def action_of(route: APIRoute) -> str:
    """The action of a route that may change something; empty: it is one that only reads, as of a path that is asked for
    with a method it does not have."""
    tag = str(route.tags[0]).removesuffix(" by namespace").replace(" ", "_") if route.tags else "system"
    return ACTIONS.get(f"{tag}_{route.name}", "")


def listed() -> str:
    """All actions as a table, by what they are done to."""
    by_thing: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for action in (*ACTIONS.values(), *BY_ITSELF, RETAIN):
        thing, _, act = action.partition(".")
        if action not in HARMLESS | UPLOADS:
            by_thing[thing][act] = None
    rows = [f"| `{thing}.` | {', '.join(f'`{act}`' for act in acts)} |" for thing, acts in by_thing.items()]
    return "\n".join(["| | |", "|---|---|", *rows, ""])


if __name__ == "__main__":
    sys.stdout.write(listed())
