/** What the server keeps of a model's metrics, as the page shows it. */

import { keepPreviousData, useQuery } from "@tanstack/react-query";

import { api, ask, type Schemas } from "../../../api/client";
import { keys } from "../../../api/queries";

export type ModelHistory = Schemas["ModelHistory"];

export const RANGES = [
  { key: "15m", words: "15 min", said: "15 minutes", seconds: 900 },
  { key: "1h", words: "1 h", said: "hour", seconds: 3600 },
  { key: "6h", words: "6 h", said: "6 hours", seconds: 6 * 3600 },
  { key: "24h", words: "24 h", said: "24 hours", seconds: 24 * 3600 },
  { key: "7d", words: "7 d", said: "7 days", seconds: 7 * 24 * 3600 },
] as const;

export type Range = (typeof RANGES)[number];

export function rangeOf(key: string | null): Range {
  return RANGES.find((range) => range.key === key) ?? RANGES[1];
}

// Milliseconds from one look to the next, at the least and at the most.
const SOONEST = 5_000;
const LATEST = 60_000;
// Milliseconds for each second of a step: the point that is under way is told as it grows.
const A_SIXTH = 1000 / 6;

export function useHistory(namespace: string, name: string, { key, seconds }: Range) {
  return useQuery({
    queryKey: keys.of(namespace, name, "metrics", key),
    queryFn: () =>
      ask(
        api.GET("/api/v1/namespaces/{namespace}/models/{name}/metrics", {
          params: {
            path: { namespace, name },
            query: { from: new Date(Date.now() - seconds * 1000).toISOString() },
          },
        }),
      ),
    placeholderData: keepPreviousData,
    // The one thing that is asked for again and again: counts that grow with each request are no changes that a stream
    // could tell. A few times a point, and never while nobody sees it.
    refetchInterval: ({ state }) => Math.min(LATEST, Math.max(SOONEST, (state.data?.step ?? 0) * A_SIXTH)),
    refetchIntervalInBackground: false,
  });
}

/** The same without a last point that has hardly begun: its rate would say nothing yet. */
export function settled<T extends Schemas["TrafficHistory"]>(told: T): T {
  const last = told.seconds.length - 1;
  if (last < 1 || (told.seconds[last] ?? 0) >= told.step / 2) return told;
  const shorter = Object.entries(told).map(([key, value]) => [
    key,
    Array.isArray(value) && key !== "marks" ? value.slice(0, last) : value,
  ]);
  return Object.fromEntries(shorter) as T;
}

/** Per second, at each point. */
export function rates(counts: number[], seconds: number[]): number[] {
  return counts.map((count, at) => count / (seconds[at] || 1));
}

export const total = (counts: number[]) => counts.reduce((sum, count) => sum + count, 0);
