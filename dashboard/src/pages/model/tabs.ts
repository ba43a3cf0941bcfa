/** The tabs of a model's page; each is loaded when it is looked at. */

import { lazy, type ComponentType } from "react";

import type { Model } from "../../api/queries";

export type TabContent = ComponentType<{ model: Model }>;

interface TabEntry {
  path: string;
  words: string;
  content: TabContent;
}

export const TABS: TabEntry[] = [
  { path: "", words: "Overview", content: lazy(() => import("./Overview")) },
  { path: "instances", words: "Instances", content: lazy(() => import("./instances/Instances")) },
  { path: "playground", words: "Playground", content: lazy(() => import("../playground/PlaygroundTab")) },
  { path: "metrics", words: "Metrics", content: lazy(() => import("./Metrics")) },
  { path: "schedule", words: "Schedule", content: lazy(() => import("./Schedule")) },
  { path: "traffic", words: "Traffic", content: lazy(() => import("./traffic/TrafficTab")) },
  { path: "revisions", words: "Revisions", content: lazy(() => import("./revisions/Revisions")) },
  { path: "logs", words: "Logs", content: lazy(() => import("./logs/Logs")) },
  { path: "events", words: "Events", content: lazy(() => import("./history/History")) },
  { path: "spec", words: "Spec and policies", content: lazy(() => import("./spec/SpecTab")) },
];
