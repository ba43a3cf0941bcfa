/** Namespaces: what they may hold and use, and what they do. */

import { useQuery } from "@tanstack/react-query";

import { api, ask, type Schemas } from "../../api/client";
import { keys, queryClient } from "../../api/queries";

export type Namespace = Schemas["Namespace"];

const one = (namespace: string) => [...keys.namespaces, namespace] as const;
const path = (namespace: string) => ({ path: { namespace } });

export function useOneNamespace(namespace: string) {
  return useQuery({
    queryKey: one(namespace),
    queryFn: () => ask(api.GET("/api/v1/namespaces/{namespace}", { params: path(namespace) })),
  });
}

export const askNamespacesAgain = () => queryClient.invalidateQueries({ queryKey: keys.namespaces });

export const createNamespace = (body: Schemas["CreateNamespace"]) => ask(api.POST("/api/v1/namespaces", { body }));

export const patchNamespace = (namespace: string, body: Schemas["PatchNamespace"]) =>
  ask(api.PATCH("/api/v1/namespaces/{namespace}", { params: path(namespace), body }));

export async function deleteNamespace(namespace: string): Promise<void> {
  await ask(api.DELETE("/api/v1/namespaces/{namespace}", { params: path(namespace) }));
}

// ------------------------------------------------------------------------------------------- signatures

const signing = (namespace: string) => ["signing", namespace] as const;

export function useTrustedKeys(namespace: string) {
  return useQuery({
    queryKey: [...signing(namespace), "keys"],
    queryFn: async () =>
      (await ask(api.GET("/api/v1/namespaces/{namespace}/registry/keys", { params: path(namespace) }))).items,
  });
}

export function useSignaturePolicy(namespace: string) {
  return useQuery({
    queryKey: [...signing(namespace), "policy"],
    queryFn: () => ask(api.GET("/api/v1/namespaces/{namespace}/registry/policy", { params: path(namespace) })),
  });
}

export const requireSignature = (namespace: string, require_signature: boolean, reason: string) =>
  ask(
    api.PUT("/api/v1/namespaces/{namespace}/registry/policy", {
      params: path(namespace),
      body: { require_signature, reason },
    }),
  );

export const trustKey = (namespace: string, key: string, body: Schemas["TrustKey"]) =>
  ask(api.PUT("/api/v1/namespaces/{namespace}/registry/keys/{key}", { params: { path: { namespace, key } }, body }));

export const revokeTrust = (namespace: string, key: string, reason: string) =>
  ask(
    api.DELETE("/api/v1/namespaces/{namespace}/registry/keys/{key}", {
      params: { path: { namespace, key }, query: { reason } },
    }),
  );

export async function askSigningAgain(namespace: string) {
  await queryClient.invalidateQueries({ queryKey: signing(namespace) });
  await askNamespacesAgain();
}
