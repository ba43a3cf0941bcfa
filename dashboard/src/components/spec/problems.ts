/** What the server has against a spec, by its fields. */

import { ApiError } from "../../api/client";
import type { Problem } from "./draft";

/** Those of the spec without that word before them; none: what is wrong is not about single fields. */
export function problemsOf(error: unknown): Problem[] {
  if (!(error instanceof ApiError)) return [];
  if (error.code === "already_exists") return [{ path: "name", message: error.message }];
  return (error.problem.errors ?? []).map(({ path, message, code }) => ({
    path: path.replace(/^spec\.?/, ""),
    message,
    code,
  }));
}
