/** Kinds of trouble and how grave they are, in words. */

import { Label } from "@patternfly/react-core";
import { ExclamationCircleIcon, ExclamationTriangleIcon, InfoCircleIcon } from "@patternfly/react-icons";

import { duration } from "../../components/Ago";
import type { AlertKind, Severity } from "./calls";

interface Kind {
  words: string;
  about: string;
  /** What its number is; a share is written in percent. */
  number: "share" | "seconds" | "count";
  usual: number;
  severity: Severity;
  /** Seconds over which it is measured or counted; none: it is what it is now. */
  window?: number;
}

export const KINDS: Record<AlertKind, Kind> = {
  start_failed: {
    words: "Start failed",
    about: "A model that is to run is in error, or its update was taken back.",
    number: "count",
    usual: 1,
    severity: "critical",
  },
  crash_loop: {
    words: "Crash loop",
    about: "Launches that failed in a row.",
    number: "count",
    usual: 5,
    severity: "critical",
  },
  schedule_failed: {
    words: "Schedule failed",
    about: "A schedule could not start or stop its model.",
    number: "count",
    usual: 1,
    severity: "critical",
    window: 86_400,
  },
  error_rate: {
    words: "Error rate",
    about: "The share of answers that are 5xx.",
    number: "share",
    usual: 0.05,
    severity: "warning",
    window: 300,
  },
  latency: {
    words: "Latency",
    about: "A quantile of the time until the answer.",
    number: "seconds",
    usual: 1,
    severity: "warning",
    window: 300,
  },
  memory: {
    words: "Memory",
    about: "What its fullest instance uses of its limit.",
    number: "share",
    usual: 0.9,
    severity: "warning",
  },
  queue_time: {
    words: "Queue time",
    about: "For how long it has waited for capacity.",
    number: "seconds",
    usual: 300,
    severity: "warning",
  },
  policy_action: {
    words: "Policy acted",
    about: "A policy has acted on it, or warned.",
    number: "count",
    usual: 1,
    severity: "info",
    window: 900,
  },
};

export const KIND_CHOICES = (Object.keys(KINDS) as AlertKind[]).map((kind) => ({
  value: kind,
  words: KINDS[kind].words,
  description: KINDS[kind].about,
}));

/** A kind's number as one reads it: "5 %", "300 s", "3". */
export function numberOf(kind: AlertKind, value: number): string {
  const { number } = KINDS[kind];
  if (number === "share") return `${Math.round(value * 1000) / 10} %`;
  return number === "seconds" ? duration(value) : String(value);
}

const LOOKS = {
  critical: { words: "Critical", status: "danger", icon: ExclamationCircleIcon },
  warning: { words: "Warning", status: "warning", icon: ExclamationTriangleIcon },
  info: { words: "Info", status: "info", icon: InfoCircleIcon },
} as const;

export const SEVERITIES = Object.keys(LOOKS) as Severity[];
export const severityWords = (severity: Severity) => LOOKS[severity].words;

export function SeverityLabel({ severity }: { severity: Severity }) {
  const { words, status, icon: Icon } = LOOKS[severity];
  return (
    <Label status={status} icon={<Icon />} isCompact>
      {words}
    </Label>
  );
}
