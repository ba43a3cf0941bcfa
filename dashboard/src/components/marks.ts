/** What happened to a model, as a mark in its charts. */

import type { Schemas } from "../api/client";

export type MarkKind = Schemas["MarkKind"];

export interface Mark {
  /** Seconds of the epoch. */
  at: number;
  kind: MarkKind;
}

export const MARK_WORDS: Record<MarkKind, string> = {
  deploy: "Deployed",
  rollback: "Rolled back",
  scale: "Scaled",
  restart: "Restarted",
  start: "Started",
  stop: "Stopped",
  idle: "Idle",
  failure: "Failed",
};
