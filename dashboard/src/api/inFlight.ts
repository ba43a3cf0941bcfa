/** How many requests are in a model and its instances now, as the front door tells. */

import { useState } from "react";

import type { Schemas } from "./client";
import type { Model } from "./queries";
import { useStream } from "./stream";

export type InFlight = Schemas["InFlight"];

/** Null while it is not known. `told` is called with each change. */
export function useInFlight(
  { namespace, name }: Pick<Model, "namespace" | "name">,
  { isOn = true, told }: { isOn?: boolean; told?: (now: InFlight) => void } = {},
): InFlight | null {
  const [now, become] = useState<InFlight | null>(null);
  const url = isOn ? `/api/v1/namespaces/${namespace}/models/${name}/in-flight?follow=true` : null;
  useStream(url, "in_flight", {
    onMessage: (data) => {
      const next = JSON.parse(data) as InFlight;
      become(next.counted ? next : null);
      told?.(next);
    },
  });
  return isOn ? now : null;
}
