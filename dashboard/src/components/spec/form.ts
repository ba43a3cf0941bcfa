/** The form that the fields of a spec are part of. */

import { createContext, useContext } from "react";

import type { Problem, Spec } from "./draft";

export interface Form {
  spec: Spec;
  /** By path; undefined: back to what it is when nobody sets it. */
  set: (path: string[], value: unknown) => void;
  problems: Problem[];
}

export const FormContext = createContext<Form | null>(null);

export function useForm(): Form {
  const form = useContext(FormContext);
  if (!form) throw new Error("A field of a spec is part of no form.");
  return form;
}

/** What is wrong with a field or with something within it. */
export function wrongAt(problems: Problem[], path: string): string | undefined {
  return problems.find((one) => one.path === path || one.path.startsWith(`${path}.`) || one.path.startsWith(`${path}[`))
    ?.message;
}
