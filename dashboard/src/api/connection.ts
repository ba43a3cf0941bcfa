/** Whether changes are followed. */

import { useSyncExternalStore } from "react";

export type Connection = "connecting" | "live" | "polling" | "paused";

let connection: Connection = "connecting";
const listeners = new Set<() => void>();

export function become(next: Connection) {
  if (next !== connection) {
    connection = next;
    listeners.forEach((tell) => tell());
  }
}

export const isLost = () => connection === "polling";

function subscribe(tell: () => void) {
  listeners.add(tell);
  return () => listeners.delete(tell);
}

export const useConnection = () => useSyncExternalStore(subscribe, () => connection);

/** Ends once changes are followed, or cannot be for now: what is read after that misses none of them. */
export async function followed(): Promise<void> {
  if (connection !== "connecting") return;
  await new Promise<void>((done) => {
    const stop = subscribe(() => {
      if (connection === "connecting") return;
      stop();
      done();
    });
  });
}
