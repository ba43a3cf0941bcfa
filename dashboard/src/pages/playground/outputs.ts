/** What an answer says: single values to be read at once, and scores of classes with the best first. */

import type { Output } from "./call";

export interface Ranked {
  index: number;
  score: number;
  /** Of the bar, 0 to 1. */
  part: number;
}

export interface Scores {
  /** They are shares of one, and shown as per cent. */
  areShares: boolean;
  /** They look like those of classes, of which the first is the answer. */
  areScores: boolean;
  ranked: Ranked[];
  /** Of how many rows this is the first. */
  rows: number;
}

const [FEWEST, MOST] = [2, 1000];
// Numbers that are no shares may be anything, such as an embedding; fewer are shown as scores all the same.
const MOST_UNKNOWN = 100;
const NAMED = /prob|logit|score|class|softmax/i;

/** The scores of the classes, where an output looks like such; of the first row. */
export function scoresOf({ name, datatype, shape, data }: Output): Scores | null {
  const classes = shape.at(-1) ?? 0;
  if (!/^(FP|BF)\d+$/.test(datatype) || shape.length > 2 || classes < FEWEST || classes > MOST) return null;
  if (shape.length === 1 && classes !== data.length) return null;
  const row = data.slice(0, classes).map(Number);
  const sum = row.reduce((total, score) => total + score, 0);
  const areShares = row.every((score) => score >= -1e-6 && score <= 1 + 1e-6) && Math.abs(sum - 1) < 0.02;
  const areScores = areShares || NAMED.test(name);
  if (!areScores && classes > MOST_UNKNOWN) return null;
  const [least, most] = [Math.min(...row), Math.max(...row)];
  const part = (score: number) => (areShares ? score : most === least ? 1 : (score - least) / (most - least));
  return {
    areShares,
    areScores,
    rows: Math.max(1, Math.round(data.length / classes)),
    ranked: row
      .map((score, index) => ({ index, score, part: Math.min(1, Math.max(0, part(score))) }))
      .sort((a, b) => b.score - a.score || a.index - b.index),
  };
}

/** The answer in a word, and the output that is no more than that: a single value, else the best class. */
export function verdictOf(outputs: Output[]): { word: string; output: Output | null } {
  const single = outputs.find(({ data }) => data.length === 1);
  if (single) return { word: plain(single.data[0]), output: single };
  for (const output of outputs) {
    const scores = scoresOf(output);
    const best = scores?.ranked[0];
    if (best && scores.areScores) return { word: `class ${best.index}`, output: null };
  }
  return { word: "", output: null };
}

export function plain(value: unknown): string {
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(5)));
  return typeof value === "string" ? value : JSON.stringify(value);
}

export function milliseconds(ms: number): string {
  return ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
