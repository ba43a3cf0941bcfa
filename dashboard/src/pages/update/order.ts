/** A change of a model: what of it differs, what would come of it, and doing it. */

import { keepPreviousData, useQuery } from "@tanstack/react-query";

import { api, ApiError, ask } from "../../api/client";
import { keys, queryClient, type Model, type Operation } from "../../api/queries";
import { asSent, mergePatch, type Spec, type Tree } from "../../components/spec/draft";
import type { Forecast } from "../../components/spec/Fit";
import { useSettled } from "../../components/spec/settled";

/** What is sent of it: only what differs. */
export const patchOf = (base: Model, spec: Spec): Tree => mergePatch(base.spec as Tree, asSent(spec) as Tree);

export const isEmpty = (patch: Tree) => Object.keys(patch).length === 0;

const pathOf = ({ namespace, name }: Model) => ({ path: { namespace, name } });

export function useForecast(model: Model, patch: Tree) {
  const text = JSON.stringify(patch);
  const asked = useSettled(text);
  const isReady = asked !== "{}";
  const query = useQuery({
    // Under "capacity", which changes ask again.
    queryKey: [...keys.capacity, "forecast", model.uid, model.generation, asked],
    enabled: isReady,
    staleTime: 0,
    gcTime: 0,
    placeholderData: keepPreviousData,
    queryFn: async () => {
      const { path } = pathOf(model);
      return (await ask(
        api.PATCH("/api/v1/namespaces/{namespace}/models/{name}", {
          params: { path, query: { dry_run: true } },
          body: { spec: JSON.parse(asked) as Tree },
        }),
      )) as Forecast;
    },
  });
  return {
    forecast: isReady && !query.error ? query.data : undefined,
    error: isReady ? query.error : null,
    isAsking: text !== asked || (isReady && query.isFetching),
  };
}

export interface Sending {
  base: Model;
  patch: Tree;
  acknowledge: boolean;
  reason: string;
}

/** The ETag counts what happens to the model, too: as long as its spec is the one that was read, the newest will do. */
export async function update(sending: Sending): Promise<Operation> {
  const { base, patch, acknowledge, reason } = sending;
  const params = pathOf(base);
  for (let attempt = 0; ; attempt++) {
    const now = await ask(api.GET("/api/v1/namespaces/{namespace}/models/{name}", { params }));
    queryClient.setQueryData(keys.model(base.namespace, base.name), now);
    const seen = now.generation === base.generation ? now.version : base.version;
    try {
      return (await ask(
        api.PATCH("/api/v1/namespaces/{namespace}/models/{name}", {
          params: { ...params, header: { "if-match": `"${seen}"` } },
          body: { spec: patch, acknowledge_restart: acknowledge, ...(reason ? { reason } : {}) },
        }),
      )) as Operation;
    } catch (error) {
      const isLate = error instanceof ApiError && error.status === 412;
      if (!isLate || now.generation !== base.generation || attempt === 2) throw error;
    }
  }
}

/** Who made the newest revision, and why. */
export function useLastRevision(model: Model) {
  return useQuery({
    queryKey: keys.of(model.namespace, model.name, "revisions", "last", model.generation),
    queryFn: async () => {
      const found = await ask(
        api.GET("/api/v1/namespaces/{namespace}/models/{name}/revisions", { params: pathOf(model) }),
      );
      return found.items.find(({ generation }) => generation === model.generation);
    },
  }).data;
}
