/** Policies as people say them. */

import { dayWord } from "../../components/schedule/rules";
import type { Rules, Ruling, Selector, WeeklyWindow } from "./data";

export const RULES: Record<Ruling["rule"], string> = {
  shutdown: "Shut down",
  idle_after: "Unused",
  max_run_time: "Run time",
  "caps.gpus": "GPUs",
  "caps.memory": "Memory",
  "caps.cpu": "Cores",
  require_signature: "Signature",
  allowed_backends: "Backends",
  protected: "Protected",
};

export function selectorInWords({ namespaces = [], labels = {}, models = [] }: Selector): string {
  const parts = [
    models.length ? `models ${models.join(", ")}` : "all models",
    ...(namespaces.length ? [`of namespaces ${namespaces.join(", ")}`] : []),
    ...(Object.keys(labels).length
      ? [
          `labelled ${Object.entries(labels)
            .map(([key, value]) => `${key}=${value}`)
            .join(", ")}`,
        ]
      : []),
  ];
  return parts.join(" ");
}

const SIZES: [number, string][] = [
  [86_400, "d"],
  [3600, "h"],
  [60, "m"],
];

/** The API tells lengths in seconds; people say 2h. */
export function length(sent: string | number): string {
  const [, text] = /^(\d+)s?$/.exec(String(sent)) ?? [];
  const [size, unit] = SIZES.find(([one]) => text !== undefined && Number(text) % one === 0) ?? [];
  return size && Number(text) > 0 ? `${Number(text) / size}${unit}` : String(sent);
}

const moment = (text: string) => dayWord(text.toLowerCase());

export function windowInWords({ days = [], start, stop, from, to }: WeeklyWindow): string {
  if (from && to) return `${moment(from)} to ${moment(to)}`;
  const of = days.map(dayWord).join(", ");
  return start || stop ? `${of} ${start ?? "00:00"} to ${stop ?? "24:00"}` : of;
}

export function rulesInWords(rules: Rules): string[] {
  const { shutdown, idle_after, max_run_time, caps = {}, require_signature, allowed_backends = [] } = rules;
  const held = [
    caps.gpus !== null && caps.gpus !== undefined && `${caps.gpus} GPUs`,
    caps.memory && `${caps.memory} of memory`,
    caps.cpu !== null && caps.cpu !== undefined && `${caps.cpu} cores`,
  ].filter(Boolean);
  return [
    shutdown && `shut down ${shutdown.windows.map(windowInWords).join("; ")} (${shutdown.timezone})`,
    idle_after && `stopped when unused for ${length(idle_after)}`,
    max_run_time && `stopped after running for ${length(max_run_time)}`,
    held.length > 0 && `at most ${held.join(", ")}`,
    require_signature && "signed versions only",
    allowed_backends.length > 0 && `only on ${allowed_backends.join(", ")}`,
    rules.protected && "protected from stop and delete",
  ].filter((words): words is string => Boolean(words));
}
