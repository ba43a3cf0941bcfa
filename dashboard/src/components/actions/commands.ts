/** The commands on one model, as mutations that tell how they went. */

import { useMutation } from "@tanstack/react-query";

import { api, ask } from "../../api/client";
import { keys, queryClient, type Model, type Operation } from "../../api/queries";
import { messageOf } from "../Failed";
import { notify } from "../notices";

const pathOf = ({ namespace, name }: Pick<Model, "namespace" | "name">) => ({ path: { namespace, name } });

const TOLD: Record<string, string> = {
  start: "is starting",
  restart: "gets new instances",
  redeploy: "gets new instances",
  stop: "is stopping",
  delete: "is being deleted",
};

export interface StopAsked {
  graceful: boolean;
  timeout: string;
  reason: string;
  /** Though a policy protects it. */
  override: boolean;
}

async function give(model: Model, command: "start" | "restart" | "redeploy", reason: string): Promise<Operation> {
  const params = pathOf(model);
  const body = { reason };
  switch (command) {
    case "start":
      return (await ask(api.POST("/api/v1/namespaces/{namespace}/models/{name}/start", { params, body }))) as Operation;
    case "restart":
      return (await ask(
        api.POST("/api/v1/namespaces/{namespace}/models/{name}/restart", { params, body }),
      )) as Operation;
    case "redeploy":
      return (await ask(
        api.POST("/api/v1/namespaces/{namespace}/models/{name}/redeploy", { params, body }),
      )) as Operation;
  }
}

/** Start, restart or redeploy; a refusal is told at the page's edge. */
export function useCommand(model: Model) {
  return useMutation({
    mutationFn: ({ command, reason = "" }: { command: "start" | "restart" | "redeploy"; reason?: string }) =>
      give(model, command, reason),
    onSuccess: (operation, { command }) => {
      notify("info", `${model.name} ${TOLD[command] ?? "is asked"}`, operation.warnings?.join(" "));
      void queryClient.invalidateQueries({ queryKey: keys.model(model.namespace, model.name), exact: true });
    },
    onError: (error, { command }) => notify("danger", `${model.name}: ${command} refused`, messageOf(error)),
  });
}

export async function stop(model: Model, { graceful, timeout, reason, override }: StopAsked): Promise<Operation> {
  return (await ask(
    api.POST("/api/v1/namespaces/{namespace}/models/{name}/stop", {
      params: pathOf(model),
      body: { graceful, timeout, reason, override },
    }),
  )) as Operation;
}

export async function remove(model: Model, reason: string): Promise<Operation> {
  return (await ask(
    api.DELETE("/api/v1/namespaces/{namespace}/models/{name}", {
      params: { ...pathOf(model), query: { reason } },
    }),
  )) as Operation;
}
