/** Which entries of the record are shown; kept in the address, so that a look at it can be shared. */

import { useMemo } from "react";
import { useSearchParams } from "react-router";

import type { Schemas } from "../../api/client";

export type Outcome = Schemas["AuditEntry"]["outcome"];

const NAMES = ["actor", "action", "target", "namespace", "outcome", "since", "until", "search"] as const;

export type FilterName = (typeof NAMES)[number];
export type Filters = Partial<Record<FilterName, string>>;

export function useFilters(): [Filters, (change: Filters) => void] {
  const [parameters, set] = useSearchParams();
  const filters = useMemo(
    () => Object.fromEntries(NAMES.map((name) => [name, parameters.get(name)]).filter(([, value]) => value)) as Filters,
    [parameters],
  );
  const change = (changed: Filters) => {
    const next = Object.entries({ ...filters, ...changed }).filter(([, value]) => value) as [string, string][];
    set(new URLSearchParams(next), { replace: true });
  };
  return [filters, change];
}

const instant = (local: string | undefined) => {
  const time = local ? Date.parse(local) : NaN;
  return Number.isNaN(time) ? undefined : new Date(time).toISOString();
};

/** As the API wants them: what is empty is left out, and times with their zone. */
export function queryOf({ since, until, outcome, ...rest }: Filters) {
  const [from, to] = [instant(since), instant(until)];
  return {
    ...rest,
    ...(outcome ? { outcome: outcome as Outcome } : {}),
    ...(from ? { since: from } : {}),
    ...(to ? { until: to } : {}),
  };
}

/** A link to the same entries as JSON lines. */
export function exportLink(filters: Filters): string {
  const parameters = new URLSearchParams(queryOf(filters) as Record<string, string>);
  return `/api/v1/audit/export${parameters.size ? `?${parameters.toString()}` : ""}`;
}
