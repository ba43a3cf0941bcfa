/** Requests to a model through the front door, as its own callers send them, with the session of this page. */

import { ApiError, type Problem } from "../../api/client";
import type { Model } from "../../api/queries";

export interface Output {
  name: string;
  datatype: string;
  shape: number[];
  data: unknown[];
}

export interface Answer {
  status: number;
  /** Milliseconds from the request to the whole answer, as this browser measured it. */
  ms: number;
  outputs: Output[];
  /** The revision that answered, as the answer says. */
  revision: string;
  requestId: string | null;
  raw: unknown;
}

/** Where a model takes requests: whichever revision its traffic goes to, or one of those that serve now. */
export function pathOf(model: Model, revision: string, action: "infer" | "generate_stream" = "infer"): string {
  const base = (model.status.endpoints.infer ?? "").replace(/\/infer$/, "");
  return `${base}${revision ? `/versions/${revision}` : ""}/${action}`;
}

/** The revisions of which instances serve now, the newest first. */
export function servingRevisions(model: Model): string[] {
  const found = new Set(
    model.status.instances.filter(({ phase }) => phase === "ready").map(({ generation }) => generation),
  );
  return [...found].sort((a, b) => b - a).map(String);
}

export async function infer(path: string, body: unknown, signal: AbortSignal): Promise<Answer> {
  const began = performance.now();
  const response = await post(path, body, signal);
  const text = await response.text();
  const ms = performance.now() - began;
  const raw = parsed(text);
  if (!response.ok) throw refusal(response, raw);
  const answer = (typeof raw === "object" && raw !== null ? raw : {}) as Partial<{
    outputs: Output[];
    model_version: string;
  }>;
  return {
    status: response.status,
    ms,
    outputs: Array.isArray(answer.outputs) ? answer.outputs : [],
    revision: answer.model_version ?? "",
    requestId: response.headers.get("x-request-id"),
    raw,
  };
}

export async function post(path: string, body: unknown, signal: AbortSignal): Promise<Response> {
  try {
    return await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError(0, { detail: "The server cannot be reached." }, null);
  }
}

export function refusal(response: Response, raw: unknown): ApiError {
  const problem = typeof raw === "object" && raw !== null ? (raw as Partial<Problem>) : { detail: String(raw) };
  return new ApiError(response.status, problem, response.headers.get("x-request-id"));
}

export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
