/** Which models the table shows, and in which order; kept in the address, so that a view can be shared and saved. */

import { useMemo } from "react";
import { useSearchParams } from "react-router";

import type { Model } from "../../api/queries";
import type { State } from "../../components/StateLabel";

export type Column = "name" | "state" | "source" | "instances" | "changed";

export interface View {
  search: string;
  states: State[];
  labels: string[];
  sort: Column;
  descending: boolean;
  page: number;
  size: number;
}

const COLUMNS: Column[] = ["name", "state", "source", "instances", "changed"];
export const SIZES = [25, 50, 100];

export function viewOf(parameters: URLSearchParams): View {
  const sort = parameters.get("sort") ?? "name";
  const column = sort.replace(/^-/, "") as Column;
  return {
    search: parameters.get("search") ?? "",
    states: parameters.getAll("state") as State[],
    labels: parameters.getAll("label"),
    sort: COLUMNS.includes(column) ? column : "name",
    descending: sort.startsWith("-"),
    page: Math.max(1, Number(parameters.get("page")) || 1),
    size: Number(parameters.get("size")) || 50,
  };
}

export function parametersOf(view: View): URLSearchParams {
  const parameters = new URLSearchParams();
  if (view.search) parameters.set("search", view.search);
  view.states.forEach((state) => parameters.append("state", state));
  view.labels.forEach((label) => parameters.append("label", label));
  if (view.sort !== "name" || view.descending) parameters.set("sort", (view.descending ? "-" : "") + view.sort);
  if (view.page > 1) parameters.set("page", String(view.page));
  if (view.size !== 50) parameters.set("size", String(view.size));
  return parameters;
}

/** The view, and what changes it: whatever changes but the page begins with the first page again. */
export function useView(): [View, (change: Partial<View>) => void] {
  const [parameters, set] = useSearchParams();
  const view = useMemo(() => viewOf(parameters), [parameters]);
  return [view, (change) => set(parametersOf({ ...view, page: 1, ...change }), { replace: true })];
}

export function isFiltered(view: View): boolean {
  return Boolean(view.search) || view.states.length > 0 || view.labels.length > 0;
}

const words = new Intl.Collator("en", { numeric: true });

const BY: Record<Column, (a: Model, b: Model) => number> = {
  name: (a, b) => words.compare(a.name, b.name) || words.compare(a.namespace, b.namespace),
  state: (a, b) => words.compare(a.status.state, b.status.state),
  source: (a, b) => words.compare(a.spec.source ?? "", b.spec.source ?? ""),
  instances: (a, b) => a.status.instances_ready - b.status.instances_ready,
  changed: (a, b) => Date.parse(a.status.last_transition.at) - Date.parse(b.status.last_transition.at),
};

export function chosen(models: Model[], namespace: string, view: View): Model[] {
  const search = view.search.toLowerCase();
  const labels = view.labels.map((label) => label.split("=", 2) as [string, string?]);
  const found = models.filter(
    (model) =>
      (!namespace || model.namespace === namespace) &&
      (!search || model.name.toLowerCase().includes(search)) &&
      (view.states.length === 0 || view.states.includes(model.status.state)) &&
      labels.every(([key, value]) => {
        const has = model.spec.labels?.[key];
        return value === undefined ? has !== undefined : has === value;
      }),
  );
  const by = BY[view.sort];
  // Of equals the name decides, so that rows do not jump.
  return found.sort((a, b) => (by(a, b) || BY.name(a, b)) * (view.descending ? -1 : 1));
}
