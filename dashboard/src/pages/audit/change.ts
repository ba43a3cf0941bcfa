/** What an entry says of the change itself. */

export interface Change {
  path: string;
  before: unknown;
  after: unknown;
}

type Said = Record<string, unknown>;

const isObject = (value: unknown): value is Said =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Each field that changed, by its path. */
export function changesOf(change: Said): Change[] {
  const fields = isObject(change.fields) ? change.fields : {};
  return Object.entries(fields).flatMap(([path, both]) =>
    isObject(both) ? [{ path, before: both.before ?? null, after: both.after ?? null }] : [],
  );
}

/** All else that is said of it, as indented JSON; "": nothing. */
export function restOf(change: Said): string {
  const rest = Object.fromEntries(Object.entries(change).filter(([name]) => name !== "fields"));
  return Object.keys(rest).length ? JSON.stringify(rest, null, 2) : "";
}

/** A value as one reads it. */
export const words = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
