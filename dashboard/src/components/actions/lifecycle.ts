/** Which commands are taken now, and why the others are not: the server's own table, beside what one may. */

import { useQuery } from "@tanstack/react-query";

import { api, ask, type Schemas } from "../../api/client";
import type { Model } from "../../api/queries";
import { useMay, type Permission } from "../../app/permissions";

export type Command = Schemas["Command"];

const NEEDS: Record<Command, Permission> = {
  start: "operate",
  stop: "operate",
  restart: "operate",
  redeploy: "operate",
  terminate: "operate",
  update: "edit",
  delete: "edit",
};

const ROLES: Partial<Record<Permission, string>> = { operate: "operator", edit: "editor", administer: "administrator" };

export function useLifecycle() {
  return useQuery({
    queryKey: ["lifecycle"],
    queryFn: async () => (await ask(api.GET("/api/v1/lifecycle"))).states,
    staleTime: Infinity,
  }).data;
}

/** Why a command cannot be given for a model now; null: it can. */
export function useRefusal(): (model: Model, command: Command) => string | null {
  const table = useLifecycle();
  const may = useMay();
  return (model, command) => {
    const permission = NEEDS[command];
    if (!may(permission, model.namespace, model.name)) {
      return `Needs the role ${ROLES[permission] ?? permission} in namespace ${model.namespace}.`;
    }
    const outcome = table?.[model.status.state]?.[command];
    if (!outcome || outcome.to) return null;
    return outcome.message ?? "Not now.";
  };
}
