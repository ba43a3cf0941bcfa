/** A model's schedule as the server has it, and what changes it. */

import { keepPreviousData, useMutation, useQuery } from "@tanstack/react-query";

import { api, ApiError, ask, type Schemas } from "../../../api/client";
import { keys, queryClient, type Model } from "../../../api/queries";
import { askForTimetables } from "../../../api/schedules";
import type { SaveSchedule } from "../../../components/schedule/rules";
import { pathOf } from "../parts";

export type Schedule = Schemas["Schedule"];
export type Status = Schemas["ScheduleStatus"];

const DAYS = 14;

/** null: it has none. */
export function useSchedule(model: Model) {
  return useQuery({
    queryKey: keys.of(model.namespace, model.name, "schedule"),
    queryFn: async () => {
      try {
        return await ask(
          api.GET("/api/v1/namespaces/{namespace}/models/{name}/schedule", { params: { path: pathOf(model) } }),
        );
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return null;
        throw error;
      }
    },
  });
}

/** What comes of the schedule that is saved, with its extension. */
export function useSavedPreview(model: Model, isWanted: boolean) {
  return useQuery({
    queryKey: keys.of(model.namespace, model.name, "schedule-preview"),
    enabled: isWanted,
    queryFn: () =>
      ask(
        api.GET("/api/v1/namespaces/{namespace}/models/{name}/schedule/preview", {
          params: { path: pathOf(model), query: { days: DAYS } },
        }),
      ),
  });
}

/** What would come of one that is not saved, were it enabled. */
export function usePreview(schedule: SaveSchedule, isWanted: boolean) {
  return useQuery({
    queryKey: ["schedule-preview", { ...schedule, enabled: true }],
    enabled: isWanted,
    placeholderData: keepPreviousData,
    queryFn: () =>
      ask(
        api.POST("/api/v1/schedules/preview", {
          params: { query: { days: DAYS } },
          body: { ...schedule, enabled: true },
        }),
      ),
  });
}

/** As it is sent to be saved again. */
export function sendable({ type, timezone, recurring, daily, exceptions, holidays, enabled }: Schedule): SaveSchedule {
  return { type, timezone, recurring, daily, exceptions, holidays, enabled };
}

function useChange<T>(model: Model, change: (what: T) => Promise<unknown>) {
  return useMutation({
    mutationFn: change,
    onSuccess: async () => {
      // The status and the preview are asked for again as well: they are of the model's.
      await queryClient.invalidateQueries({ queryKey: keys.model(model.namespace, model.name) });
      void askForTimetables();
    },
  });
}

/** `version`: the one that was edited; null: there was none. */
export function useSave(model: Model) {
  return useChange(model, ({ schedule, version }: { schedule: SaveSchedule; version: number | null }) =>
    ask(
      api.PUT("/api/v1/namespaces/{namespace}/models/{name}/schedule", {
        params: { path: pathOf(model), header: version === null ? {} : { "if-match": `"${version}"` } },
        body: schedule,
      }),
    ),
  );
}

export function useRemove(model: Model) {
  return useChange(model, (reason: string) =>
    ask(
      api.DELETE("/api/v1/namespaces/{namespace}/models/{name}/schedule", {
        params: { path: pathOf(model), query: { reason } },
      }),
    ),
  );
}

export function useSwitch(model: Model) {
  const params = { path: pathOf(model) };
  return useChange(model, (on: boolean) =>
    on
      ? ask(api.POST("/api/v1/namespaces/{namespace}/models/{name}/schedule/enable", { params }))
      : ask(api.POST("/api/v1/namespaces/{namespace}/models/{name}/schedule/disable", { params })),
  );
}

export function useExtend(model: Model) {
  return useChange(model, (body: Schemas["ExtendSchedule"]) =>
    ask(
      api.POST("/api/v1/namespaces/{namespace}/models/{name}/schedule/extend", {
        params: { path: pathOf(model) },
        body,
      }),
    ),
  );
}

export function useEndExtension(model: Model) {
  return useChange<void>(model, () =>
    ask(
      api.DELETE("/api/v1/namespaces/{namespace}/models/{name}/schedule/extend", { params: { path: pathOf(model) } }),
    ),
  );
}
