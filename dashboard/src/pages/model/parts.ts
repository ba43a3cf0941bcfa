/** What there is to read of one model beside itself. Each is asked for again once something has happened to the model
 * (see api/live.ts). */

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";

import { api, ask, type Schemas } from "../../api/client";
import { keys, type Model } from "../../api/queries";

export type Revision = Schemas["Revision"];
export type FieldChange = Schemas["FieldChange"];
export type AuditEntry = Schemas["AuditEntry"];

type Named = Pick<Model, "namespace" | "name">;
const PAGE = 50;

export const pathOf = ({ namespace, name }: Named) => ({ namespace, name });

export function useRevisions(model: Named) {
  return useQuery({
    queryKey: keys.of(model.namespace, model.name, "revisions"),
    queryFn: async () =>
      (
        await ask(
          api.GET("/api/v1/namespaces/{namespace}/models/{name}/revisions", { params: { path: pathOf(model) } }),
        )
      ).items,
  });
}

/** What going from revision `before` to `after` changes. */
export function useDiff(model: Named, before: number, after: number) {
  return useQuery({
    queryKey: keys.of(model.namespace, model.name, "diff", before, after),
    enabled: before > 0 && after > 0 && before !== after,
    // Revisions never change.
    staleTime: Infinity,
    queryFn: () =>
      ask(
        api.GET("/api/v1/namespaces/{namespace}/models/{name}/revisions/{generation}/diff", {
          params: { path: { ...pathOf(model), generation: after }, query: { against: before } },
        }),
      ),
  });
}

export function useTraffic(model: Named) {
  return useQuery({
    queryKey: keys.of(model.namespace, model.name, "traffic"),
    queryFn: () =>
      ask(api.GET("/api/v1/namespaces/{namespace}/models/{name}/traffic", { params: { path: pathOf(model) } })),
  });
}

export function useNextAction(model: Named) {
  return useQuery({
    queryKey: keys.of(model.namespace, model.name, "schedule-status"),
    queryFn: () =>
      ask(api.GET("/api/v1/namespaces/{namespace}/models/{name}/schedule/status", { params: { path: pathOf(model) } })),
  });
}

/** Those that are under way, the newest first. */
export function useRunning(model: Named) {
  return useQuery({
    queryKey: keys.of(model.namespace, model.name, "operations"),
    queryFn: async () =>
      (
        await ask(
          api.GET("/api/v1/operations", {
            params: { query: { namespace: model.namespace, model: model.name, done: false, page_size: 5 } },
          }),
        )
      ).items,
  });
}

export function useOperation(model: Named, id: string) {
  return useQuery({
    queryKey: keys.of(model.namespace, model.name, "operation", id),
    enabled: id !== "",
    queryFn: () => ask(api.GET("/api/v1/operations/{operation}", { params: { path: { operation: id } } })),
  });
}

export function useModelEvents(model: Named) {
  return useInfiniteQuery({
    queryKey: keys.of(model.namespace, model.name, "events"),
    initialPageParam: "",
    queryFn: ({ pageParam }) =>
      ask(
        api.GET("/api/v1/namespaces/{namespace}/models/{name}/events", {
          params: { path: pathOf(model), query: { page_size: PAGE, page_token: pageParam } },
        }),
      ),
    getNextPageParam: (last) => last.next_page_token || undefined,
  });
}

/** Only for administrators of its namespace. */
export function useModelAudit(model: Named, isAllowed: boolean) {
  return useInfiniteQuery({
    queryKey: keys.of(model.namespace, model.name, "audit"),
    enabled: isAllowed,
    initialPageParam: "",
    queryFn: ({ pageParam }) =>
      ask(
        api.GET("/api/v1/namespaces/{namespace}/audit", {
          params: {
            path: { namespace: model.namespace },
            query: { target: model.name, page_size: PAGE, page_token: pageParam },
          },
        }),
      ),
    getNextPageParam: (last) => last.next_page_token || undefined,
  });
}
