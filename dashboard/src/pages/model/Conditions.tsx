/** The conditions of a model as steps: what holds, since when and why, and what to do about what does not. */

import { ProgressStep, ProgressStepper } from "@patternfly/react-core";
import { Link } from "react-router";

import type { Schemas } from "../../api/client";
import type { Model } from "../../api/queries";
import { Ago } from "../../components/Ago";
import { nextStep } from "./nextSteps";

type Condition = Schemas["Condition"];

// Those that are good when they do not hold.
const BAD: ReadonlySet<string> = new Set(["Degraded"]);
const WORDS: Record<string, string> = {
  CapacityAvailable: "Capacity",
  Progressing: "Rollout",
  Ready: "Ready",
  Degraded: "Health",
  ScheduleHealthy: "Schedule",
  ArmsServing: "Traffic",
  SiteReachable: "Machine",
};
const ORDER = Object.keys(WORDS);
// What is said where the server has nothing to add.
const GOOD: Record<string, string> = {
  Fits: "What it asks for is there.",
  Settled: "Nothing is being replaced.",
  Healthy: "No instance has failed.",
};
// Not as one wants it to stay, but as it should be.
const RESTING: ReadonlySet<string> = new Set(["Stopped", "Idle"]);

function variantOf(
  { type, status, reason }: Condition,
  state: string,
): "success" | "info" | "warning" | "danger" | "default" {
  if (type === "Progressing") return status ? "info" : "default";
  if (BAD.has(type)) return status ? "danger" : "success";
  if (status) return "success";
  if (RESTING.has(reason)) return "default";
  return type === "Ready" && state === "error" ? "danger" : "warning";
}

export function Conditions({ model }: { model: Model }) {
  const place = ({ type }: Condition) => (ORDER.includes(type) ? ORDER.indexOf(type) : ORDER.length);
  return (
    <ProgressStepper isVertical aria-label="Conditions">
      {[...model.status.conditions]
        .sort((a, b) => place(a) - place(b))
        .map((condition) => (
          <ProgressStep
            key={condition.type}
            id={`condition-${condition.type}`}
            titleId={`condition-${condition.type}-title`}
            variant={variantOf(condition, model.status.state)}
            aria-label={`${WORDS[condition.type] ?? condition.type}: ${condition.reason}`}
            description={<Description condition={condition} model={model} />}
          >
            {WORDS[condition.type] ?? condition.type}
          </ProgressStep>
        ))}
    </ProgressStepper>
  );
}

function Description({ condition, model }: { condition: Condition; model: Model }) {
  const step = nextStep(condition, model);
  return (
    <>
      <span className="yard-condition">
        {condition.message || GOOD[condition.reason] || condition.reason}{" "}
        <span className="yard-quiet">
          <Ago at={condition.since} />
        </span>
      </span>
      {step && (
        <span className="yard-condition">
          {step.words}{" "}
          {step.to && <Link to={`/models/${model.namespace}/${model.name}/${step.to.path}`}>{step.to.words}</Link>}
        </span>
      )}
    </>
  );
}
