/** The record of who did what. */

import { keepPreviousData, useInfiniteQuery, useMutation } from "@tanstack/react-query";

import { api, ask, type Schemas } from "../../api/client";
import { queryOf, type Filters } from "./filters";

export type Entry = Schemas["AuditEntry"];

const SIZE = 50;

/** Pages by key, the newest first. `scope`: the namespace to which the reader is bound; "": none. */
export function useEntries(filters: Filters, scope: string) {
  return useInfiniteQuery({
    queryKey: ["audit", scope, filters],
    initialPageParam: "",
    placeholderData: keepPreviousData,
    queryFn: ({ pageParam: page_token }) => {
      const { namespace, ...rest } = queryOf(filters);
      const query = { ...rest, page_size: SIZE, page_token };
      return ask(
        scope
          ? api.GET("/api/v1/namespaces/{namespace}/audit", { params: { path: { namespace: scope }, query } })
          : api.GET("/api/v1/audit", { params: { query: { ...query, ...(namespace ? { namespace } : {}) } } }),
      );
    },
    getNextPageParam: ({ next_page_token }) => next_page_token || undefined,
  });
}

/** Reads the whole record: only when it is asked for. */
export function useVerify() {
  return useMutation({ mutationFn: () => ask(api.GET("/api/v1/audit/verify")) });
}
