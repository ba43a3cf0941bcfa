/** Events of a model and the record of who asked for what as one line of time, the newest first. */

import type { Event } from "../../../api/queries";
import type { AuditEntry } from "../parts";

export type Kind = "event" | "failure" | "audit";

export interface Entry {
  key: string;
  at: string;
  kind: Kind;
  title: string;
  message: string;
  reason: string;
  actor: string;
  details: Record<string, unknown>;
}

const FAILURES: ReadonlySet<string> = new Set(["InstanceFailed", "RolledBack", "CannotFollow", "SchedulerError"]);

export function ofEvent(event: Event): Entry {
  const fails = FAILURES.has(event.type) || event.data["to"] === "error";
  return {
    key: `event-${event.id}`,
    at: event.at,
    kind: fails ? "failure" : "event",
    title: spaced(event.type),
    message: event.message,
    // A code only repeats what the title and the message say.
    reason: event.type === "StateChanged" || event.reason === event.type ? "" : event.reason,
    actor: event.actor,
    details: event.data,
  };
}

export function ofAudit(entry: AuditEntry): Entry {
  const done = entry.outcome === "done";
  return {
    key: `audit-${entry.number}`,
    at: entry.at,
    kind: "audit",
    title: spaced(entry.action.replace(/^.*\./, "").replaceAll("_", " ")),
    message: done ? "" : `Not done: ${entry.code || entry.outcome}.`,
    reason: entry.reason,
    actor: entry.actor || "somebody unknown",
    details: {
      action: entry.action,
      ...entry.change,
      ...(entry.address ? { address: entry.address } : {}),
      ...(entry.client ? { client: entry.client } : {}),
      ...(entry.request ? { request: entry.request } : {}),
    },
  };
}

interface Source {
  entries: Entry[];
  hasMore: boolean;
}

/** All entries down to where every source is known: below that one of them might have more in between. */
export function merged(sources: Source[]): Entry[] {
  const bounds = sources.filter(({ hasMore }) => hasMore).map(({ entries }) => Date.parse(entries.at(-1)?.at ?? ""));
  const bound = Math.max(-Infinity, ...bounds.filter((at) => !Number.isNaN(at)));
  return sources
    .flatMap(({ entries }) => entries)
    .filter(({ at }) => Date.parse(at) >= bound)
    .sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
}

/** "InstanceFailed" → "Instance failed". */
export function spaced(type: string): string {
  const words = type.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Those whose target is the model, not a registered model or a policy of the same name. */
export function isOfModel(entry: AuditEntry): boolean {
  return entry.kind === "model";
}
