/** A spec while it is being written: what is typed stands in it as it is, also where it is no number yet. */

import type { Schemas } from "../../api/client";

export type Spec = Schemas["Spec-Input"];
export type Tree = Record<string, unknown>;

/** What is asked of a spec before it is sent, by the paths of its fields; "" is the request as a whole. */
export interface Problem {
  path: string;
  message: string;
  code?: string;
}

const NUMBERS = [
  "resources.cpu",
  "resources.gpus",
  "replicas.min",
  "replicas.max",
  "replicas.desired",
  "autoscaling.target",
  "autoscaling.max_waiting",
  "container.health_check.retries",
  "limits.max_queue",
  "limits.rate.per_second",
  "limits.rate.burst",
  "options.port",
  "priority",
].map((path) => path.split("."));

export const isTree = (value: unknown): value is Tree =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function valueAt(spec: unknown, path: string[]): unknown {
  return path.reduce<unknown>((tree, key) => (isTree(tree) ? tree[key] : undefined), spec);
}

/** The spec with `value` at `path`; undefined takes it away. */
export function put<T>(spec: T, [key = "", ...rest]: string[], value: unknown): T {
  const { [key]: before, ...others }: Tree = isTree(spec) ? spec : {};
  const after = rest.length > 0 ? put(before, rest, value) : value;
  return (after === undefined ? others : { ...others, [key]: after }) as T;
}

const isNumber = (text: string) => /^-?\d+(\.\d+)?$/.test(text);

// As the server gives them.
const ORDER = [
  "engine",
  "source",
  "follow",
  "backend",
  "options",
  "resources",
  "replicas",
  "container",
  "limits",
  "type",
  "features",
  "autoscaling",
  "rollout",
  "traffic",
  "priority",
  "preempt",
  "pin",
  "groups",
  "public",
  "trusted",
  "description",
  "labels",
];

const inOrder = (spec: Tree): Tree =>
  Object.fromEntries(Object.entries(spec).sort(([a], [b]) => ORDER.indexOf(a) - ORDER.indexOf(b)));

/** As it is sent: numbers as numbers, and nothing that says nothing. */
export function asSent(spec: Spec): Spec {
  let sent = spec;
  for (const path of NUMBERS) {
    const value = valueAt(sent, path);
    if (typeof value === "string" && isNumber(value)) sent = put(sent, path, Number(value));
  }
  const groups = sent.groups?.map((group) => group.trim()).filter(Boolean);
  return inOrder(pruned(groups ? { ...sent, groups } : sent)) as Spec;
}

function pruned(tree: Tree): Tree {
  const kept: Tree = {};
  for (const [key, value] of Object.entries(tree)) {
    const inner = isTree(value) ? pruned(value) : value;
    const isEmpty = inner === undefined || inner === null || (isTree(inner) && Object.keys(inner).length === 0);
    if (!isEmpty && !(Array.isArray(inner) && inner.length === 0)) kept[key] = inner;
  }
  return kept;
}

const isNothing = (value: unknown) =>
  value === undefined ||
  value === null ||
  (Array.isArray(value) && value.length === 0) ||
  (isTree(value) && Object.keys(pruned(value)).length === 0);

/** A JSON merge patch (RFC 7396) from one tree to the other: what is left out stays, null removes. */
export function mergePatch(before: Tree, after: Tree): Tree {
  const patch: Tree = {};
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [was, is] = [before[key], after[key]];
    if (isNothing(is)) {
      if (!isNothing(was)) patch[key] = null;
    } else if (isTree(was) && isTree(is)) {
      const inner = mergePatch(was, is);
      if (Object.keys(inner).length > 0) patch[key] = inner;
    } else if (JSON.stringify(was) !== JSON.stringify(is)) patch[key] = is;
  }
  return patch;
}

/** `tree` with `patch` merged into it. */
export function merged(tree: Tree, patch: Tree): Tree {
  const result = { ...tree };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else if (isTree(value)) result[key] = merged(isTree(result[key]) ? result[key] : {}, value);
    else result[key] = value;
  }
  return result;
}

/** The paths of what stands in a tree, with their values. */
export function leaves(tree: Tree, before: string[] = []): [string[], unknown][] {
  return Object.entries(tree).flatMap(([key, value]): [string[], unknown][] =>
    isTree(value) && Object.keys(value).length > 0 ? leaves(value, [...before, key]) : [[[...before, key], value]],
  );
}
