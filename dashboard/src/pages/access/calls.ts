/** Members and keys of one namespace, or (scope "") of the whole installation. */

import { useQuery } from "@tanstack/react-query";

import { api, ask, type Schemas } from "../../api/client";
import { queryClient } from "../../api/queries";

export type Member = Schemas["Member"];
export type ApiKey = Schemas["ApiKey"];
export type NewApiKey = Schemas["NewApiKey"];
export type Role = Schemas["Role"];

const of = (scope: string, what: string) => ["access", scope, what] as const;
const path = (namespace: string) => ({ path: { namespace } });

export function useMembers(scope: string) {
  return useQuery({
    queryKey: of(scope, "members"),
    queryFn: async () =>
      (
        await ask(
          scope
            ? api.GET("/api/v1/namespaces/{namespace}/members", { params: path(scope) })
            : api.GET("/api/v1/members"),
        )
      ).items,
  });
}

export function useKeys(scope: string) {
  return useQuery({
    queryKey: of(scope, "keys"),
    queryFn: async () =>
      (
        await ask(
          scope ? api.GET("/api/v1/namespaces/{namespace}/keys", { params: path(scope) }) : api.GET("/api/v1/keys"),
        )
      ).items,
  });
}

export const askAgain = (scope: string) => queryClient.invalidateQueries({ queryKey: ["access", scope] });

export function putMember(scope: string, member: string, body: Schemas["PutMember"]): Promise<Member> {
  return ask(
    scope
      ? api.PUT("/api/v1/namespaces/{namespace}/members/{member}", {
          params: { path: { namespace: scope, member } },
          body,
        })
      : api.PUT("/api/v1/members/{member}", { params: { path: { member } }, body }),
  );
}

export async function removeMember(scope: string, member: string, reason: string): Promise<void> {
  const query = { reason };
  await ask(
    scope
      ? api.DELETE("/api/v1/namespaces/{namespace}/members/{member}", {
          params: { path: { namespace: scope, member }, query },
        })
      : api.DELETE("/api/v1/members/{member}", { params: { path: { member }, query } }),
  );
}

export function createKey(scope: string, body: Schemas["CreateKey"]): Promise<NewApiKey> {
  return ask(
    scope
      ? api.POST("/api/v1/namespaces/{namespace}/keys", { params: path(scope), body })
      : api.POST("/api/v1/keys", { body }),
  );
}

export function rotateKey(scope: string, key: string, overlap: string): Promise<NewApiKey> {
  const body = { overlap };
  return ask(
    scope
      ? api.POST("/api/v1/namespaces/{namespace}/keys/{key}/rotate", {
          params: { path: { namespace: scope, key } },
          body,
        })
      : api.POST("/api/v1/keys/{key}/rotate", { params: { path: { key } }, body }),
  );
}

export async function revokeKey(scope: string, key: string, reason: string): Promise<void> {
  const query = { reason };
  await ask(
    scope
      ? api.DELETE("/api/v1/namespaces/{namespace}/keys/{key}", { params: { path: { namespace: scope, key }, query } })
      : api.DELETE("/api/v1/keys/{key}", { params: { path: { key }, query } }),
  );
}
