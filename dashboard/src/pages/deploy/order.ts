/** What is to be deployed, what the server says would come of it, and doing it. */

import { keepPreviousData, useQuery } from "@tanstack/react-query";

import { api, ask, type Schemas } from "../../api/client";
import { keys, type Operation } from "../../api/queries";
import type { SaveSchedule } from "../../components/schedule/rules";
import { asSent, type Problem, type Spec } from "../../components/spec/draft";
import type { Forecast } from "../../components/spec/Fit";
import { useSettled } from "../../components/spec/settled";

export interface Draft {
  namespace: string;
  name: string;
  spec: Spec;
  isStopped: boolean;
  schedule: SaveSchedule | null;
  reason: string;
}

export function bodyOf({ name, spec, isStopped, reason }: Draft): Schemas["CreateModel"] {
  return {
    name,
    spec: asSent(spec),
    ...(isStopped ? { desired: "stopped" as const } : {}),
    ...(reason ? { reason } : {}),
  };
}

export const pathOf = (namespace: string) => `/api/v1/namespaces/${namespace}/models`;

const NAME = /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** What can be said without asking. */
export function ownProblems({ name, spec }: Draft): Problem[] {
  const found: Problem[] = [];
  if (!name) found.push({ path: "name", code: "required", message: "It needs a name." });
  else if (!NAME.test(name)) {
    const message =
      "1 to 63 small letters, digits and hyphens; it begins with a letter and does not end with a hyphen.";
    found.push({ path: "name", message });
  }
  if (!spec.source && !["command", "mock"].includes(spec.engine ?? ""))
    found.push({ path: "source", code: "required", message: "It needs a source." });
  return found;
}

/** Asked anew as one types, and once others have come or gone. */
export function useForecast(draft: Draft) {
  const isReady = ownProblems(draft).length === 0 && draft.namespace !== "";
  const asked = useSettled(JSON.stringify({ namespace: draft.namespace, body: bodyOf({ ...draft, reason: "" }) }));
  const query = useQuery({
    // Under "capacity", which changes ask again.
    queryKey: [...keys.capacity, "forecast", asked],
    enabled: isReady,
    staleTime: 0,
    gcTime: 0,
    placeholderData: keepPreviousData,
    queryFn: async () => {
      const { namespace, body } = JSON.parse(asked) as { namespace: string; body: Schemas["CreateModel"] };
      return (await ask(
        api.POST("/api/v1/namespaces/{namespace}/models", {
          params: { path: { namespace }, query: { dry_run: true } },
          body,
        }),
      )) as Forecast;
    },
  });
  const isCurrent = asked === JSON.stringify({ namespace: draft.namespace, body: bodyOf({ ...draft, reason: "" }) });
  return {
    forecast: isReady && !query.error ? query.data : undefined,
    error: isReady ? query.error : null,
    isAsking: isReady && (query.isFetching || !isCurrent),
  };
}

export async function deploy(draft: Draft): Promise<Operation> {
  return (await ask(
    api.POST("/api/v1/namespaces/{namespace}/models", {
      params: { path: { namespace: draft.namespace } },
      body: bodyOf(draft),
    }),
  )) as Operation;
}

export async function saveSchedule({ namespace, name, schedule }: Draft): Promise<void> {
  if (!schedule) return;
  await ask(
    api.PUT("/api/v1/namespaces/{namespace}/models/{name}/schedule", {
      params: { path: { namespace, name } },
      body: schedule,
    }),
  );
}
