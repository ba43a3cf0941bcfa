/** A rule as the form has it: all text, and shares in percent. */

import type { Schemas } from "../../api/client";
import { parts } from "../access/roles";
import type { AlertKind, AlertRule, Severity } from "./calls";
import { KINDS } from "./kinds";

export interface Draft {
  name: string;
  kind: AlertKind;
  severity: Severity;
  threshold: string;
  window: string;
  lasting: string;
  keep: string;
  quantile: string;
  names: string;
  namespaces: string;
  labels: string;
  description: string;
  enabled: boolean;
}

const DURATION = /^\d+(\.\d+)?(ms|s|m|h|d)?$/;

const shown = (kind: AlertKind, value: number) =>
  String(KINDS[kind].number === "share" ? Math.round(value * 100_000) / 1000 : value);

/** What is usual for a kind, in the place of what was there. */
export function usual(kind: AlertKind, draft: Partial<Draft> = {}): Draft {
  const { usual: threshold, severity, window } = KINDS[kind];
  return {
    name: "",
    names: "",
    namespaces: "",
    labels: "",
    description: "",
    enabled: true,
    ...draft,
    kind,
    severity,
    threshold: shown(kind, threshold),
    window: window ? `${window / 60}m` : "",
    lasting: "0s",
    keep: window && KINDS[kind].number !== "count" ? "2m" : "0s",
    quantile: "95",
  };
}

export function draftOf(rule: AlertRule): Draft {
  return {
    name: rule.name,
    kind: rule.kind,
    severity: rule.severity,
    threshold: shown(rule.kind, rule.threshold),
    window: KINDS[rule.kind].window ? String(rule.window) : "",
    lasting: String(rule.lasting),
    keep: String(rule.keep),
    quantile: String(Math.round(rule.quantile * 100_000) / 1000),
    names: rule.names.join(", "),
    namespaces: rule.namespaces.join(", "),
    labels: Object.entries(rule.labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(", "),
    description: rule.description,
    enabled: rule.enabled,
  };
}

export function bodyOfDraft(draft: Draft, before: AlertRule | null): Schemas["SetAlertRule"] {
  const isShare = KINDS[draft.kind].number === "share";
  return {
    kind: draft.kind,
    severity: draft.severity,
    threshold: Number(draft.threshold) / (isShare ? 100 : 1),
    window: draft.window || null,
    lasting: draft.lasting || null,
    keep: draft.keep || null,
    quantile: Number(draft.quantile) / 100,
    // What the form does not ask for stays as it was.
    clear: before?.kind === draft.kind ? (before.clear ?? null) : null,
    least: before?.least ?? null,
    names: parts(draft.names),
    namespaces: parts(draft.namespaces),
    labels: Object.fromEntries(parts(draft.labels).map((pair) => pair.split("=", 2) as [string, string])),
    description: draft.description,
    enabled: draft.enabled,
  };
}

/** A rule as it is sent back unchanged. */
export function bodyOf(rule: AlertRule): Schemas["SetAlertRule"] {
  return { ...bodyOfDraft(draftOf(rule), rule), threshold: rule.threshold, quantile: rule.quantile };
}

/** What is wrong with a field, while one types. */
export function wrongIn(draft: Draft): Partial<Record<keyof Draft, string>> {
  const wrong: Partial<Record<keyof Draft, string>> = {};
  const number = Number(draft.threshold);
  if (!(number > 0)) wrong.threshold = "A number above 0.";
  else if (KINDS[draft.kind].number === "share" && number > 100) wrong.threshold = "At most 100 %.";
  for (const field of ["window", "lasting", "keep"] as const) {
    if (draft[field] && !DURATION.test(draft[field])) wrong[field] = "A duration: 30s, 10m, 2h.";
  }
  if (parts(draft.labels).some((pair) => !/^[^=]+=.*$/.test(pair))) wrong.labels = "Labels as key=value.";
  return wrong;
}
