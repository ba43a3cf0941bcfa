/** Policies of the installation and of the namespaces, and what changes them. */

import { keepPreviousData, useMutation, useQuery } from "@tanstack/react-query";

import { api, ApiError, ask, type Schemas } from "../../api/client";
import { keys, queryClient, useMe, useNamespaces, type Model } from "../../api/queries";
import { askForTimetables } from "../../api/schedules";
import { matches } from "../../app/permissions";

export type Policy = Schemas["Policy"];
export type SetPolicy = Schemas["SetPolicy"];
export type Rules = Schemas["PolicyRules"];
export type Selector = Schemas["PolicySelector"];
export type WeeklyWindow = Schemas["WeeklyWindow"];
export type ModelPolicies = Schemas["ModelPolicies"];
export type Ruling = Schemas["PolicyRuling"];

const KEY = ["policies"];

/** In addresses: no namespace is called so. */
export const INSTALLATION = "_";
export const scopeOf = (policy: Pick<Policy, "namespace">) => policy.namespace || INSTALLATION;
export const scopeInWords = (namespace: string) => (namespace ? `namespace ${namespace}` : "the whole installation");

/** Nobody is told of policies that are not theirs to see. */
async function unlessForbidden(asked: Promise<{ items: Policy[] }>): Promise<Policy[]> {
  try {
    return (await asked).items;
  } catch (error) {
    if (error instanceof ApiError && (error.status === 403 || error.status === 404)) return [];
    throw error;
  }
}

export function usePolicies() {
  const me = useMe().data;
  const namespaces = useNamespaces().data;
  return useQuery({
    queryKey: [...KEY, me?.oversees, namespaces?.map(({ name }) => name)],
    enabled: me !== undefined && namespaces !== undefined,
    queryFn: async () => {
      const ofNamespaces = (namespaces ?? []).map(({ name: namespace }) =>
        unlessForbidden(ask(api.GET("/api/v1/namespaces/{namespace}/policies", { params: { path: { namespace } } }))),
      );
      const whole = me?.oversees ? unlessForbidden(ask(api.GET("/api/v1/policies"))) : [];
      return (await Promise.all([whole, ...ofNamespaces])).flat();
    },
  });
}

export function usePolicy(namespace: string, policy: string, isThere: boolean) {
  return useQuery({
    queryKey: [...KEY, "one", namespace, policy],
    enabled: isThere,
    queryFn: () =>
      namespace
        ? ask(api.GET("/api/v1/namespaces/{namespace}/policies/{policy}", { params: { path: { namespace, policy } } }))
        : ask(api.GET("/api/v1/policies/{policy}", { params: { path: { policy } } })),
  });
}

/** What the models that it selects would come to with it; nothing is changed. */
export function useProspect(namespace: string, name: string, body: SetPolicy, isWanted: boolean) {
  return useQuery({
    queryKey: [...KEY, "preview", namespace, name, body],
    enabled: isWanted,
    placeholderData: keepPreviousData,
    queryFn: async () => {
      const asked = { body: { ...body, name: name || "preview" } };
      return (
        await ask(
          namespace
            ? api.POST("/api/v1/namespaces/{namespace}/policies/preview", { params: { path: { namespace } }, ...asked })
            : api.POST("/api/v1/policies/preview", asked),
        )
      ).items;
    },
  });
}

async function changed() {
  await queryClient.invalidateQueries({ queryKey: KEY });
  void askForTimetables();
}

export function useSavePolicy(namespace: string) {
  return useMutation({
    mutationFn: ({ name, body, version }: { name: string; body: SetPolicy; version: number | null }) => {
      const header = version === null ? {} : { "if-match": `"${version}"` };
      return namespace
        ? ask(
            api.PUT("/api/v1/namespaces/{namespace}/policies/{policy}", {
              params: { path: { namespace, policy: name }, header },
              body,
            }),
          )
        : ask(api.PUT("/api/v1/policies/{policy}", { params: { path: { policy: name }, header }, body }));
    },
    onSuccess: changed,
  });
}

export function useDeletePolicy({ namespace, name, version }: Policy) {
  return useMutation({
    mutationFn: (reason: string) => {
      const header = { "if-match": `"${version}"` };
      const query = { reason };
      return namespace
        ? ask(
            api.DELETE("/api/v1/namespaces/{namespace}/policies/{policy}", {
              params: { path: { namespace, policy: name }, header, query },
            }),
          )
        : ask(api.DELETE("/api/v1/policies/{policy}", { params: { path: { policy: name }, header, query } }));
    },
    onSuccess: changed,
  });
}

type Named = Pick<Model, "namespace" | "name">;

/** What all policies come to for one model. */
export function useRulings(model: Named) {
  return useQuery({
    queryKey: keys.of(model.namespace, model.name, "policies"),
    queryFn: () =>
      ask(
        api.GET("/api/v1/namespaces/{namespace}/models/{name}/policies", {
          params: { path: { namespace: model.namespace, name: model.name } },
        }),
      ),
  });
}

export function useOverride(policy: string) {
  return useMutation({
    mutationFn: ({ model, reason, expires }: { model: Named; reason: string; expires: string }) =>
      ask(
        api.PUT("/api/v1/namespaces/{namespace}/models/{name}/overrides/{policy}", {
          params: { path: { namespace: model.namespace, name: model.name, policy } },
          body: { reason, expires },
        }),
      ),
    onSuccess: changed,
  });
}

export function useEndOverride(policy: string) {
  return useMutation({
    mutationFn: ({ namespace, name }: Named) =>
      ask(
        api.DELETE("/api/v1/namespaces/{namespace}/models/{name}/overrides/{policy}", {
          params: { path: { namespace, name, policy } },
        }),
      ),
    onSuccess: changed,
  });
}

/** As the server chooses them: all of a selector's parts must match. */
export function selects(policy: Pick<Policy, "namespace" | "selector">, model: Model): boolean {
  const { namespaces = [], labels = {}, models = [] } = policy.selector;
  const isOne = (patterns: string[], name: string) =>
    patterns.length === 0 || patterns.some((pattern) => matches(pattern, name));
  return (
    (!policy.namespace || policy.namespace === model.namespace) &&
    isOne(namespaces, model.namespace) &&
    isOne(models, model.name) &&
    Object.entries(labels).every(([key, value]) => model.spec.labels?.[key] === value)
  );
}
