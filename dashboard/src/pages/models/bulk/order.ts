/** What is asked of many models at once, and what the server says would come of it. */

import { useQuery } from "@tanstack/react-query";

import { api, ask, type Schemas } from "../../../api/client";
import type { Model, Operation } from "../../../api/queries";

export type Action = Schemas["BulkAction"];
export type Request = Schemas["BulkRequest"];
export type Prospect = Schemas["BulkProspect"];
export type Item = Schemas["BulkItem"];

export const ACTIONS: Record<Action, { words: string; doing: string }> = {
  start: { words: "Start", doing: "Starting" },
  stop: { words: "Stop", doing: "Stopping" },
  restart: { words: "Restart", doing: "Restarting" },
  label: { words: "Label", doing: "Labelling" },
  schedule: { words: "Schedule", doing: "Scheduling" },
  delete: { words: "Delete", doing: "Deleting" },
};

/** All that can be chosen beside the models. */
export type Options = Pick<Request, "graceful" | "timeout" | "labels" | "schedule" | "schedule_edit" | "reason">;

function body(action: Action, models: Model[], options: Options): Request {
  return { ...options, action, models: models.map(({ namespace, name }) => `${namespace}/${name}`) };
}

export function useForecast(action: Action, models: Model[], options: Options, isReady: boolean) {
  return useQuery({
    queryKey: ["bulk", action, models.map(({ uid, version }) => [uid, version]), options],
    enabled: isReady,
    staleTime: 0,
    queryFn: async () => {
      const found = await ask(api.POST("/api/v1/bulk", { body: { ...body(action, models, options), dry_run: true } }));
      return (found as Schemas["BulkForecast"]).items;
    },
  });
}

export async function take(action: Action, models: Model[], options: Options): Promise<Operation> {
  return (await ask(api.POST("/api/v1/bulk", { body: body(action, models, options) }))) as Operation;
}

/** The operation with its items, as it goes on. */
export function useBulk(id: string) {
  return useQuery({
    // Under "operations", which changes ask again.
    queryKey: ["operations", id],
    enabled: id !== "",
    queryFn: () => ask(api.GET("/api/v1/operations/{operation}", { params: { path: { operation: id } } })),
  });
}

export async function cancel(id: string): Promise<void> {
  await ask(api.POST("/api/v1/operations/{operation}/cancel", { params: { path: { operation: id } } }));
}
