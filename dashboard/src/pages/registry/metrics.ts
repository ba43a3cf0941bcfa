/** Metrics of versions beside each other: which is the best, and how far the others are from the first. */

import type { Version } from "./queries";

export interface Row {
  metric: string;
  isLowerBetter: boolean;
  values: (number | null)[];
  /** Which are the best; none where all are the same, or there is but one. */
  best: boolean[];
  /** From the first version's; null where there is none. */
  differences: (number | null)[];
}

// Of these the smaller is the better; the registry does not say, so that their names must.
const LOWER =
  /(^|[_.\- ])(loss|error|err|latency|mae|mse|rmse|mape|perplexity|wer|cer|fpr|fnr|drop|size|memory|seconds|ms|time|cost|brier)($|[_.\- ])/i;

export function isLowerBetter(metric: string): boolean {
  return LOWER.test(metric);
}

export function rowsOf(versions: Version[]): Row[] {
  const metrics = [...new Set(versions.flatMap(({ metrics }) => Object.keys(metrics)))].sort();
  return metrics.map((metric) => {
    const lower = isLowerBetter(metric);
    const values = versions.map((version) => version.metrics[metric] ?? null);
    const known = values.filter((value) => value !== null);
    const best = lower ? Math.min(...known) : Math.max(...known);
    const differ = known.some((value) => value !== known[0]);
    const [first] = values;
    return {
      metric,
      isLowerBetter: lower,
      values,
      best: values.map((value) => differ && value === best),
      differences: values.map((value, index) =>
        index === 0 || value === null || first === null || first === undefined ? null : value - first,
      ),
    };
  });
}

const exact = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const signed = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, signDisplay: "exceptZero" });

export const number = (value: number) => exact.format(value);
export const difference = (value: number) => signed.format(value).replace("-", "−");
