/** Text as a model writes it: the events of Triton's generate extension, or of a server that speaks as OpenAI's does. */

import type { Model } from "../../api/queries";
import type { Tensor } from "../model/sample";
import { parsed, pathOf, post, refusal } from "./call";

export interface Said {
  by: "you" | "model";
  text: string;
}

export interface Asking {
  path: string;
  body: unknown;
}

/** Servers that users bring speak their own protocol; of text that is OpenAI's. */
export function isServer(model: Model): boolean {
  return model.spec.engine === "command";
}

/** What is sent to have a model go on with a conversation. */
export function asking(model: Model, revision: string, inputs: Tensor[] | undefined, said: Said[]): Asking {
  if (isServer(model)) {
    const messages = said.map(({ by, text }) => ({ role: by === "you" ? "user" : "assistant", content: text }));
    return {
      path: `${(model.status.endpoints.proxy ?? "").replace(/\/$/, "")}/v1/chat/completions`,
      body: { model: model.name, messages, stream: true },
    };
  }
  const field = inputs?.find(({ datatype }) => datatype === "BYTES")?.name ?? "text_input";
  return { path: pathOf(model, revision, "generate_stream"), body: { [field]: said.at(-1)?.text ?? "" } };
}

/** The pieces of the answer as they come. Ends when `signal` is aborted: the model is told to stop. */
export async function* pieces({ path, body }: Asking, signal: AbortSignal): AsyncGenerator<string> {
  const response = await post(path, body, signal);
  if (!response.ok || !response.body) throw refusal(response, parsed(await response.text()));
  let left = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (left + value).split(/\r?\n/);
    left = lines.pop() ?? "";
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield pieceOf(parsed(data), response);
    }
  }
}

// What stands beside the outputs.
const ABOUT: ReadonlySet<string> = new Set(["model_name", "model_version", "id"]);

function pieceOf(event: unknown, response: Response): string {
  if (typeof event !== "object" || event === null) return "";
  const fields = event as Record<string, unknown>;
  // Once it has begun, an answer's status is sent; what goes wrong later comes as an event.
  if ("status" in fields && "code" in fields) throw refusal(response, event);
  const [choice] = Array.isArray(fields.choices) ? (fields.choices as { delta?: { content?: string } }[]) : [];
  if (choice) return choice.delta?.content ?? "";
  return Object.entries(fields)
    .filter(([name, value]) => !ABOUT.has(name) && typeof value === "string")
    .map(([, value]) => String(value))
    .join("");
}
