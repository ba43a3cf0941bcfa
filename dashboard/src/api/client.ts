/** The typed client of the API, and what a refusal says. */

import createClient from "openapi-fetch";

import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type Problem = Schemas["ProblemBody"];

/** A refusal of the API in its own words, or a server that could not be reached (status 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Partial<Problem>,
    readonly requestId: string | null,
  ) {
    super(problem.detail ?? problem.title ?? `The server answered ${status}.`);
    this.name = "ApiError";
  }

  get code(): string {
    return this.problem.code ?? "";
  }

  /** What is wrong with single fields of the request, by their paths. */
  get fields(): { path: string; message: string }[] {
    return (this.problem.errors ?? []).map(({ path, message }) => ({ path, message }));
  }

  get isUnreachable(): boolean {
    return this.status === 0;
  }
}

export const api = createClient<paths>({ baseUrl: "" });

let refused = (_why: string) => {};

/** Has `tell` told why, when the server no longer takes who is signed in. */
export function onRefused(tell: (why: string) => void) {
  refused = tell;
}

api.use({
  onResponse: async ({ response, schemaPath }) => {
    // Signing in may fail for somebody who is signed in already.
    if (response.status !== 401 || schemaPath === "/api/v1/session") return;
    const problem = (await response
      .clone()
      .json()
      .catch(() => ({}))) as Partial<Problem>;
    refused(problem.detail ?? "");
  },
  onError: () =>
    new ApiError(0, { detail: "The server cannot be reached. This page goes on by itself once it is back." }, null),
});

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** What a call answered; throws ApiError where it was refused. */
export async function ask<T>(call: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await call;
  if (!response.ok) {
    const problem = typeof error === "object" && error !== null ? (error as Partial<Problem>) : {};
    throw new ApiError(response.status, problem, response.headers.get("x-request-id"));
  }
  return data as T;
}

/** All pages of a list. */
export async function allPages<T>(
  page: (token: string) => Promise<{ items: T[]; next_page_token?: string }>,
): Promise<T[]> {
  const items: T[] = [];
  let token = "";
  do {
    const found = await page(token);
    items.push(...found.items);
    token = found.next_page_token ?? "";
  } while (token);
  return items;
}
