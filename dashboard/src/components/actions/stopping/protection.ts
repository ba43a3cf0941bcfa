/** Whether policies protect a model from being stopped, and who may stop it nevertheless. */

import { useQuery } from "@tanstack/react-query";

import { api, ask } from "../../../api/client";
import { keys, type Model } from "../../../api/queries";
import { useMay } from "../../../app/permissions";

type Named = Pick<Model, "namespace" | "name">;

export function usePolicies({ namespace, name }: Named) {
  return useQuery({
    queryKey: keys.of(namespace, name, "policies"),
    queryFn: () =>
      ask(api.GET("/api/v1/namespaces/{namespace}/models/{name}/policies", { params: { path: { namespace, name } } })),
  });
}

export interface Protection {
  policy: string;
  scope: string;
  /** Why the one who is signed in may not override it; null: it may. */
  why: string | null;
}

/** Those that hold now; empty where nothing protects the model. */
export function useProtection(model: Named): Protection[] {
  const may = useMay();
  const rulings = usePolicies(model).data?.rulings ?? [];
  return rulings
    .filter(({ rule, standing }) => rule === "protected" && standing === "in_force")
    .map(({ policy, namespace }) => {
      const allowed = namespace ? may("administer", namespace) : may("oversee", model.namespace);
      const who = namespace ? `administrators of namespace ${namespace}` : "administrators of the whole installation";
      return {
        policy,
        scope: namespace ? `namespace ${namespace}` : "the whole installation",
        why: allowed ? null : `Only ${who} may stop it nevertheless.`,
      };
    });
}
