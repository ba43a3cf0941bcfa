/** Short messages about what has just been done, at the page's edge. */

import { useSyncExternalStore, type ReactNode } from "react";

export interface Notice {
  id: number;
  variant: "success" | "danger" | "info" | "warning";
  title: string;
  body?: ReactNode;
}

let notices: Notice[] = [];
let last = 0;
const listeners = new Set<() => void>();

function become(next: Notice[]) {
  notices = next;
  listeners.forEach((tell) => tell());
}

export function notify(variant: Notice["variant"], title: string, body?: ReactNode) {
  become([...notices.slice(-4), { id: ++last, variant, title, body }]);
}

export function dismiss(id: number) {
  become(notices.filter((notice) => notice.id !== id));
}

function subscribe(tell: () => void) {
  listeners.add(tell);
  return () => listeners.delete(tell);
}

export function useNotices() {
  return { notices: useSyncExternalStore(subscribe, () => notices), dismiss };
}
