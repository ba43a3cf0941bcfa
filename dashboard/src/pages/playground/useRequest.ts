/** The request that is being made: a form and its JSON, of which each follows the other. */

import { useState } from "react";

import type { Tensor } from "../model/sample";
import { blank, read, valuesIn, write, type Body, type Input } from "./body";

// More values make a text that nobody reads and that browsers edit slowly.
const MOST_SHOWN = 4096;

export interface Request {
  body: Body;
  text: string;
  /** Why the text is no request; "" where it is one. */
  wrong: string;
  isTooLong: boolean;
  setBody: (body: Body) => void;
  setText: (text: string) => void;
  setInput: (input: Input) => void;
}

export function useRequest(inputs: Tensor[] | undefined): Request {
  const signature = JSON.stringify(inputs ?? null);
  const [state, set] = useState(() => fresh(inputs, signature));
  // Of another signature the form begins anew; of the same one what was made goes on.
  const now = state.signature === signature ? state : fresh(inputs, signature);
  if (now !== state) set(now);
  const setBody = (body: Body) => set({ signature, body, text: written(body), wrong: "" });
  return {
    body: now.body,
    text: now.text,
    wrong: now.wrong,
    isTooLong: valuesIn(now.body) > MOST_SHOWN,
    setBody,
    setText: (text) => {
      const { body, wrong } = read(text);
      set({ signature, body: body ?? now.body, text, wrong });
    },
    setInput: (input) => {
      const isThere = now.body.inputs.some(({ name }) => name === input.name);
      const inputs = isThere
        ? now.body.inputs.map((one) => (one.name === input.name ? input : one))
        : [...now.body.inputs, input];
      setBody({ ...now.body, inputs });
    },
  };
}

function fresh(inputs: Tensor[] | undefined, signature: string) {
  const body = blank(inputs);
  return { signature, body, text: written(body), wrong: "" };
}

const written = (body: Body) => (valuesIn(body) > MOST_SHOWN ? "" : write(body));
