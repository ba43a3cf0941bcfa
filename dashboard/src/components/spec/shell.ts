/** The same as one would type it: commands of the command line and calls of the API, to be pasted as they stand. */

import { stringify } from "yaml";

import { isTree, leaves, put, valueAt, type Spec, type Tree } from "./draft";

export interface Wish {
  namespace: string;
  name: string;
  spec: Spec;
  desired: "running" | "stopped";
}

const DEFAULT_NAMESPACE = "default";

export function quoted(text: string): string {
  return /^[\w@%+=:,./^-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A value of YAML in one line that is read back as what it is. */
function plain(value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value);
  const isWord = /^[A-Za-z/][\w ./@^-]*$/.test(value) && !/^(true|false|yes|no|on|off|null|y|n)$/i.test(value);
  return isWord || /^\d+[A-Za-z]+$/.test(value) ? value : JSON.stringify(value);
}

const lines = (parts: string[]) => parts.join(" \\\n  ");
const secretsOf = (spec: Tree) => Object.keys((valueAt(spec, ["container", "secrets"]) ?? {}) as Tree);

/** Each secret's value as a mark, which becomes the variable of its name in the shell. */
function marked(spec: Tree): Tree {
  return secretsOf(spec).reduce((tree, name) => {
    const path = ["container", "secrets", name];
    return valueAt(tree, path) === null ? tree : put(tree, path, `@@${name}@@`);
  }, spec);
}

const MARK = /@@(\w+)@@/g;

// By the path of a field, its option; a list is repeated, a tree is NAME=VALUE.
const OPTIONS: [string, string][] = [
  ["engine", "engine"],
  ["follow", "follow"],
  ["resources.cpu", "cpu"],
  ["resources.memory", "memory"],
  ["resources.gpus", "gpus"],
  ["container.environment", "env"],
  ["container.working_dir", "working-dir"],
  ["container.shared_memory", "shared-memory"],
  ["container.health_check.path", "health-path"],
  ["options.port", "port"],
  ["autoscaling.idle_after", "idle-after"],
  ["rollout.strategy", "strategy"],
  ["priority", "priority"],
  ["preempt", "preempt"],
  ["pin", "pin"],
  ["type", "type"],
  ["groups", "group"],
  ["public", "public"],
  ["trusted", "trusted"],
  ["labels", "label"],
  ["description", "description"],
];

function optionsOf(option: string, value: unknown): string[] {
  if (value === true) return [`--${option}`];
  if (Array.isArray(value)) return value.map((one) => `--${option} ${quoted(String(one))}`);
  if (isTree(value)) return Object.entries(value).map(([key, one]) => `--${option} ${quoted(`${key}=${String(one)}`)}`);
  const text = String(value);
  return [text.startsWith("-") ? `--${option}=${quoted(text)}` : `--${option} ${quoted(text)}`];
}

/** As options of `deploy`, and what is left that it has no options for. */
function spelledOut(spec: Spec): { parts: string[]; left: Tree } {
  let left: Tree = { ...spec };
  const parts: string[] = [];
  const take = (path: string) => {
    const value = valueAt(left, path.split("."));
    left = put(left, path.split("."), undefined);
    return value;
  };
  const command = take("options.command");
  if (Array.isArray(command)) {
    take("engine");
    parts.push(`--command ${quoted(command.map((word) => quoted(String(word))).join(" "))}`);
  }
  for (const [path, option] of OPTIONS) {
    const value = take(path);
    if (value !== undefined && value !== null && value !== false) parts.push(...optionsOf(option, value));
  }
  for (const name of secretsOf(left)) parts.push(`--secret ${name}`);
  take("container.secrets");
  for (const [key, value] of Object.entries((take("options") ?? {}) as Tree))
    parts.push(`--option ${quoted(`${key}=${plain(value)}`)}`);
  for (const [key, on] of Object.entries((take("features") ?? {}) as Tree))
    if (on) parts.push(`--feature ${key.replaceAll("_", "-")}`);
  const [least, most] = [take("replicas.min"), take("replicas.max")];
  if (least !== undefined && least === most) parts.push(`--replicas ${String(least)}`);
  else {
    if (least !== undefined) parts.push(`--min ${String(least)}`);
    if (most !== undefined) parts.push(`--max ${String(most)}`);
  }
  const [metric, target] = [take("autoscaling.metric"), take("autoscaling.target")];
  if (target !== undefined && target !== null)
    parts.push(`--target ${String(metric ?? "concurrency")}=${String(target)}`);
  take("source");
  return { parts, left };
}

/** `deploy` with options, or `apply` of all of it where there are no options for some. */
export function deployCommand(wish: Wish): string {
  const { namespace, name, spec, desired } = wish;
  const { parts, left } = spelledOut(spec);
  if (leaves(left).some(([, value]) => !isTree(value))) {
    const text = yamlOf({ ...wish, spec: marked(spec as Tree) as Spec });
    if (secretsOf(spec as Tree).length === 0) return `modelyard apply -f - <<'YAML'\n${text}YAML`;
    return `modelyard apply -f - <<YAML\n${text.replace(/[\\`$]/g, "\\$&").replace(MARK, "$${$1}")}YAML`;
  }
  return lines([
    `modelyard deploy ${name}${spec.source ? ` ${quoted(spec.source)}` : ""}`,
    ...(namespace === DEFAULT_NAMESPACE ? [] : [`--namespace ${namespace}`]),
    ...parts,
    ...(desired === "stopped" ? ["--stopped"] : []),
  ]);
}

export function updateCommand(
  { namespace, name }: Pick<Wish, "namespace" | "name">,
  patch: Tree,
  acknowledge: boolean,
): string {
  const parts = leaves(marked(patch)).map(([path, value]) => {
    const field = path.join(".");
    if (value === null) return `--unset ${quoted(field)}`;
    const isText = ["description", "source"].includes(field) || /^(labels|container\.environment)\../.test(field);
    if (typeof value === "string" && value === `@@${path.at(-1) ?? ""}@@`)
      return `--set "${field}=$${path.at(-1) ?? ""}"`;
    return `--set ${quoted(`${field}=${isText ? String(value) : plain(value)}`)}`;
  });
  return lines([
    `modelyard update ${name}`,
    ...(namespace === DEFAULT_NAMESPACE ? [] : [`--namespace ${namespace}`]),
    ...parts,
    ...(acknowledge ? ["--acknowledge-restart"] : []),
  ]);
}

export interface Call {
  method: "POST" | "PATCH" | "PUT";
  path: string;
  body: Tree;
  ifMatch?: number;
}

export function curl({ method, path, body, ifMatch }: Call): string {
  const spec = isTree(body.spec) ? { ...body, spec: marked(body.spec) } : body;
  const json = JSON.stringify(spec, null, 2).replaceAll("'", "'\\''").replace(MARK, `'"$$$1"'`);
  return lines([
    `curl -s -X ${method} ${quoted(`${window.location.origin}${path}`)}`,
    `-H "Authorization: Bearer $MODELYARD_TOKEN"`,
    `-H "Content-Type: application/json"`,
    ...(ifMatch === undefined ? [] : [`-H 'If-Match: "${ifMatch}"'`]),
    `--data '${json}'`,
  ]);
}

/** One document for `modelyard apply`. */
export function yamlOf({ namespace, name, spec, desired }: Wish): string {
  return stringify({
    name,
    ...(namespace === DEFAULT_NAMESPACE ? {} : { namespace }),
    ...(desired === "stopped" ? { desired } : {}),
    spec,
  });
}

/** As one may see it: what secrets are is nobody's to see. */
export function masked<T extends Tree>(spec: T): T {
  return secretsOf(spec).reduce((tree, name) => put(tree, ["container", "secrets", name], "********"), spec);
}
