/** Which part of the form has which field, so that what is wrong is shown where it is mended. */

import type { Problem } from "./draft";

export const STEPS = {
  source: "Source",
  runtime: "Runtime and resources",
  scaling: "Scaling and schedule",
  access: "Access and features",
  review: "Review",
} as const;
export type Step = keyof typeof STEPS;

const FIRST: Record<string, Step> = {
  name: "source",
  source: "source",
  engine: "source",
  follow: "source",
  trusted: "source",
  options: "runtime",
  resources: "runtime",
  container: "runtime",
  limits: "runtime",
  priority: "runtime",
  preempt: "runtime",
  pin: "runtime",
  replicas: "scaling",
  autoscaling: "scaling",
  schedule: "scaling",
  groups: "access",
  public: "access",
  type: "access",
  features: "access",
  description: "access",
  labels: "access",
};
// Those of a server of one's own stand beside its source.
const WITH_SOURCE = ["options.command", "options.port"];

/** What the form has no field for is for the review to show. */
export function stepOf(path: string): Step {
  if (WITH_SOURCE.includes(path)) return "source";
  return FIRST[path.split(/[.[]/)[0] ?? ""] ?? "review";
}

export const problemsIn = (problems: Problem[], step: Step) => problems.filter(({ path }) => stepOf(path) === step);
