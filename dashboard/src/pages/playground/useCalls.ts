/** Asks one model, or two beside each other; a new request takes the place of one that is still out. */

import { useRef, useState } from "react";

import { ApiError } from "../../api/client";
import type { Body } from "./body";
import { infer, pathOf } from "./call";
import { remember } from "./history";
import type { Result } from "./Outcome";
import { verdictOf } from "./outputs";
import { wordsOf, written, type Target } from "./targets";

export function useCalls() {
  const [results, setResults] = useState<Record<string, Result>>({});
  const [isAsking, setAsking] = useState(false);
  const current = useRef<AbortController | null>(null);

  const stop = () => current.current?.abort();

  const ask = async (targets: Target[], body: Body) => {
    stop();
    const controller = new AbortController();
    current.current = controller;
    setAsking(true);
    const found = await Promise.all(targets.map((target) => one(target, body, controller.signal)));
    // A later request shows its own.
    if (current.current !== controller) return;
    current.current = null;
    setAsking(false);
    if (controller.signal.aborted) return;
    setResults(Object.fromEntries(targets.map((target, index) => [written(target), found[index]!])));
    remember(
      body,
      targets.map((target, index) => {
        const { answer, error } = found[index]!;
        const status = answer?.status ?? (error instanceof ApiError ? error.status : 0);
        const verdict = answer ? verdictOf(answer.outputs).word : (error?.message ?? "");
        return { target: wordsOf(target), status, ms: answer?.ms ?? null, verdict };
      }),
    );
  };

  return { results, isAsking, ask, stop };
}

async function one({ model, revision }: Target, body: Body, signal: AbortSignal): Promise<Result> {
  try {
    return { answer: await infer(pathOf(model, revision), body, signal), error: null };
  } catch (error) {
    return { answer: null, error: error instanceof Error ? error : new Error(String(error)) };
  }
}
