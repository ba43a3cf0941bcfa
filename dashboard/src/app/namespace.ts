/** The namespace that the pages are about; none: all of them. Kept for the next visit. */

import { useSyncExternalStore } from "react";

const KEY = "modelyard.namespace";
const listeners = new Set<() => void>();
let chosen = localStorage.getItem(KEY) ?? "";

export function chooseNamespace(namespace: string) {
  chosen = namespace;
  if (namespace) localStorage.setItem(KEY, namespace);
  else localStorage.removeItem(KEY);
  listeners.forEach((tell) => tell());
}

function subscribe(tell: () => void) {
  listeners.add(tell);
  return () => listeners.delete(tell);
}

/** Its name; "" for all. */
export const useNamespace = () => useSyncExternalStore(subscribe, () => chosen);
