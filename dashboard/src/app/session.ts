/** Who is signed in, and how one can sign in. */

import { useQuery } from "@tanstack/react-query";

import { api, ApiError, ask, onRefused, type Schemas } from "../api/client";
import { queryClient } from "../api/queries";

/** `ended`: why the one who was signed in here is so no longer. */
export type Session = Schemas["Session"] & { ended?: string };

const KEY = ["session"] as const;

async function fetchSession(): Promise<Session> {
  const session = await ask(api.GET("/api/v1/session"));
  const before = queryClient.getQueryData<Session>(KEY);
  if (session.signed_in) return session;
  if (!before?.signed_in) return { ...session, ended: before?.ended };
  return { ...session, ended: await whyRefused() };
}

/** The server's word of the credential that is taken no longer. */
async function whyRefused(): Promise<string> {
  try {
    await ask(api.GET("/api/v1/me"));
    return "";
  } catch (error) {
    return error instanceof ApiError && error.status === 401 ? error.message : "";
  }
}

export function useSession() {
  return useQuery({ queryKey: KEY, queryFn: fetchSession, staleTime: 60_000 });
}

onRefused((why) =>
  queryClient.setQueryData<Session>(
    KEY,
    (session) => session && (session.signed_in ? { ...session, signed_in: false, name: "", ended: why } : session),
  ),
);

export async function signIn(by: { key: string } | { code: string }) {
  const session = await ask(api.POST("/api/v1/session", { body: by }));
  queryClient.clear();
  queryClient.setQueryData<Session>(KEY, session);
}

export async function signOut() {
  await ask(api.DELETE("/api/v1/session"));
  queryClient.clear();
}
