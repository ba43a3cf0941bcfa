/** What the pages read, by keys that live changes find again (see live.ts). */

import { QueryClient, useQuery } from "@tanstack/react-query";

import { allPages, api, ApiError, ask, type Schemas } from "./client";
import { followed } from "./connection";

export type Model = Schemas["Model"];
export type Operation = Schemas["Operation"];
export type Event = Schemas["Event"];

export const keys = {
  me: ["me"] as const,
  models: ["models"] as const,
  model: (namespace: string, name: string) => ["model", namespace, name] as const,
  of: (namespace: string, name: string, what: string, ...more: unknown[]) =>
    ["model", namespace, name, what, ...more] as const,
  namespaces: ["namespaces"] as const,
  capacity: ["capacity"] as const,
  events: ["events"] as const,
};

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      // What changes is told by the stream; looking again is for when it was cut.
      staleTime: 30_000,
      refetchOnWindowFocus: true,
      retry: (failures, error) =>
        error instanceof ApiError && (error.isUnreachable || error.status === 503) && failures < 5,
    },
  },
});

export async function fetchModels(): Promise<Model[]> {
  await followed();
  return allPages((token) =>
    ask(
      api.GET("/api/v1/models", {
        params: { query: { all_namespaces: true, page_size: 1000, page_token: token, sort: "name" } },
      }),
    ),
  );
}

export function useModels() {
  return useQuery({ queryKey: keys.models, queryFn: fetchModels, staleTime: Infinity });
}

export function useModel(namespace: string, name: string) {
  return useQuery({
    queryKey: keys.model(namespace, name),
    queryFn: () =>
      ask(api.GET("/api/v1/namespaces/{namespace}/models/{name}", { params: { path: { namespace, name } } })),
    staleTime: Infinity,
  });
}

export function useNamespaces() {
  return useQuery({
    queryKey: keys.namespaces,
    queryFn: async () => (await ask(api.GET("/api/v1/namespaces"))).items,
  });
}

export function useMe() {
  return useQuery({ queryKey: keys.me, queryFn: () => ask(api.GET("/api/v1/me")), staleTime: 60_000 });
}

export function useCapacity() {
  return useQuery({ queryKey: keys.capacity, queryFn: async () => (await ask(api.GET("/api/v1/capacity"))).items });
}

export function useEvents(filter: { namespace?: string; model?: string }, count = 50) {
  return useQuery({
    queryKey: [...keys.events, filter, count],
    queryFn: async () =>
      (await ask(api.GET("/api/v1/events", { params: { query: { ...filter, page_size: count } } }))).items,
  });
}
