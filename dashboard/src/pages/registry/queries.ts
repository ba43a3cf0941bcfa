/** What the pages about registered models read. No stream tells of them: they are asked again when one comes back to the
 * page and after what one has done here. */

import { keepPreviousData, useQuery } from "@tanstack/react-query";

import { allPages, api, ask, type Schemas } from "../../api/client";
import { queryClient } from "../../api/queries";

export type Registered = Schemas["RegisteredModel"];
export type Version = Schemas["ModelVersion"];
export type Alias = Schemas["Alias"];

export interface Place {
  namespace: string;
  name: string;
}

const keys = {
  list: ["registry", "list"] as const,
  of: ({ namespace, name }: Place, ...what: unknown[]) => ["registry", "of", namespace, name, ...what] as const,
};

/** After a change to a registered model. */
export function askAgain(place: Place) {
  void queryClient.invalidateQueries({ queryKey: keys.list });
  return queryClient.invalidateQueries({ queryKey: keys.of(place) });
}

export interface ListFilter {
  /** "" for all. */
  namespace: string;
  framework: string;
  deleted: boolean;
}

export function useRegistered({ namespace, framework, deleted }: ListFilter) {
  return useQuery({
    queryKey: [...keys.list, namespace, framework, deleted],
    placeholderData: keepPreviousData,
    queryFn: () =>
      allPages<Registered>((token) => {
        const query = { framework, deleted, page_size: 1000, page_token: token };
        return ask(
          namespace
            ? api.GET("/api/v1/namespaces/{namespace}/registry/models", { params: { path: { namespace }, query } })
            : api.GET("/api/v1/registry/models", { params: { query: { ...query, all_namespaces: true } } }),
        );
      }),
  });
}

export function useRegisteredModel(place: Place) {
  return useQuery({
    queryKey: keys.of(place, "model"),
    queryFn: () => ask(api.GET("/api/v1/namespaces/{namespace}/registry/models/{name}", { params: { path: place } })),
  });
}

/** All versions, the highest first. */
export function useVersions(place: Place, deleted = false) {
  return useQuery({
    queryKey: keys.of(place, "versions", deleted),
    queryFn: () =>
      allPages<Version>((token) =>
        ask(
          api.GET("/api/v1/namespaces/{namespace}/registry/models/{name}/versions", {
            params: { path: place, query: { deleted, page_size: 1000, page_token: token } },
          }),
        ),
      ),
  });
}

export function useNewest(place: Place) {
  return useQuery({
    queryKey: keys.of(place, "newest"),
    queryFn: async () =>
      (
        await ask(
          api.GET("/api/v1/namespaces/{namespace}/registry/models/{name}/versions", {
            params: { path: place, query: { page_size: 1 } },
          }),
        )
      ).items[0] ?? null,
  });
}

export function useVersion(place: Place, version: string) {
  return useQuery({
    queryKey: keys.of(place, "version", version),
    queryFn: () =>
      ask(
        api.GET("/api/v1/namespaces/{namespace}/registry/models/{name}/versions/{version}", {
          params: { path: { ...place, version } },
        }),
      ),
  });
}

export function useAliases(place: Place) {
  return useQuery({
    queryKey: keys.of(place, "aliases"),
    queryFn: async () =>
      (await ask(api.GET("/api/v1/namespaces/{namespace}/registry/models/{name}/aliases", { params: { path: place } })))
        .items,
  });
}

export function useHistory(place: Place, alias: string, isWanted: boolean) {
  return useQuery({
    queryKey: keys.of(place, "history", alias),
    enabled: isWanted,
    queryFn: async () =>
      (
        await ask(
          api.GET("/api/v1/namespaces/{namespace}/registry/models/{name}/aliases/{alias}/history", {
            params: { path: { ...place, alias }, query: { page_size: 20 } },
          }),
        )
      ).items,
  });
}

export function useVerification(place: Place, version: string) {
  return useQuery({
    queryKey: keys.of(place, "verification", version),
    queryFn: () =>
      ask(
        api.GET("/api/v1/namespaces/{namespace}/registry/models/{name}/versions/{version}/verification", {
          params: { path: { ...place, version } },
        }),
      ),
  });
}

export function useFiles(place: Place, version: string) {
  return useQuery({
    queryKey: keys.of(place, "files", version),
    queryFn: async () =>
      (
        await ask(
          api.GET("/api/v1/namespaces/{namespace}/registry/models/{name}/versions/{version}/files", {
            params: { path: { ...place, version } },
          }),
        )
      ).items,
  });
}

/** What differs from one version to another; nothing is asked while one of them is not chosen. */
export function useDiff(place: Place, from: string, to: string) {
  return useQuery({
    queryKey: keys.of(place, "diff", from, to),
    enabled: Boolean(from && to),
    // Bytes do not change under their number.
    staleTime: 300_000,
    queryFn: () =>
      ask(
        api.GET("/api/v1/namespaces/{namespace}/registry/models/{name}/diff", {
          params: { path: place, query: { from, to } },
        }),
      ),
  });
}
