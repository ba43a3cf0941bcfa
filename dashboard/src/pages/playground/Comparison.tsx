/** Whether two answers to the same request agree, and which of them came first. */

import type { Result } from "./Outcome";
import { milliseconds, verdictOf } from "./outputs";
import { wordsOf, written, type Target } from "./targets";

export function Comparison({ targets, results }: { targets: [Target, Target]; results: Record<string, Result> }) {
  const [a, b] = targets.map((target) => results[written(target)]?.answer);
  return <p role="status">{a && b ? sentence(targets, [a, b]) : ""}</p>;
}

type Answers = [NonNullable<Result["answer"]>, NonNullable<Result["answer"]>];

function sentence([first, second]: [Target, Target], [a, b]: Answers): string {
  const [one, other] = [verdictOf(a.outputs).word, verdictOf(b.outputs).word];
  const same = JSON.stringify(a.outputs) === JSON.stringify(b.outputs);
  const said = same
    ? "Both give the same outputs."
    : one && one === other
      ? `Both say ${one}; their outputs differ.`
      : one && other
        ? `They differ: ${wordsOf(first)} says ${one}, ${wordsOf(second)} says ${other}.`
        : "Their outputs differ.";
  const faster = a.ms <= b.ms ? first : second;
  return `${said} ${wordsOf(faster)} was ${milliseconds(Math.abs(a.ms - b.ms))} faster.`;
}
