/** The last requests since this page was opened; nothing of them is kept anywhere else. */

import { useSyncExternalStore } from "react";

import type { Body } from "./body";

export interface Past {
  id: number;
  at: string;
  body: Body;
  calls: { target: string; status: number; ms: number | null; verdict: string }[];
}

const MOST = 20;
let past: Past[] = [];
let last = 0;
const listeners = new Set<() => void>();

export function remember(body: Body, calls: Past["calls"]) {
  past = [{ id: ++last, at: new Date().toISOString(), body, calls }, ...past].slice(0, MOST);
  listeners.forEach((tell) => tell());
}

function subscribe(tell: () => void) {
  listeners.add(tell);
  return () => listeners.delete(tell);
}

export const usePast = () => useSyncExternalStore(subscribe, () => past);
