/** The commands that steer a rollout, and why one of them is not for now. */

import { useMutation } from "@tanstack/react-query";

import { api, ask, type Schemas } from "../../../api/client";
import { keys, queryClient, type Model } from "../../../api/queries";
import { useMay } from "../../../app/permissions";
import { notify } from "../../../components/notices";
import { pathOf } from "../parts";

type Rollout = Schemas["RolloutStatus"];
export type Steer = "pause" | "resume" | "cancel" | "force" | "promote" | "abort" | "percent";

export interface Steering {
  words: string;
  title: string;
  /** What comes of it, and what it breaks. */
  effect: (model: Model, rollout: Rollout) => string;
  told: string;
  isDanger?: boolean;
}

export const STEERING: Record<Steer, Steering> = {
  pause: {
    words: "Pause",
    title: "Pause the rollout?",
    effect: () =>
      "Nothing is launched or ended for it until it is resumed, cancelled or forced. Its deadline waits too.",
    told: "is paused",
  },
  resume: {
    words: "Resume",
    title: "Resume the rollout?",
    effect: () => "It goes on where it stood, and its deadline counts anew.",
    told: "goes on",
  },
  promote: {
    words: "Promote",
    title: "Promote the canary?",
    effect: (_, { to }) => `The steps that are left are skipped: revision ${to} takes the place of the old one.`,
    told: "is promoted",
  },
  percent: {
    words: "Set share",
    title: "Set the canary's share",
    effect: () => "The ramp goes on from there, with the first larger step.",
    told: "has another share",
  },
  abort: {
    words: "Abort",
    title: "Abort the canary?",
    effect: (_, { from, to }) =>
      `All requests go to revision ${from} again, and the instances of revision ${to} end. What is in flight in them is finished first.`,
    told: "was aborted",
    isDanger: true,
  },
  cancel: {
    words: "Cancel",
    title: "Cancel the rollout?",
    effect: (_, { from }) =>
      `It goes back to the last good revision (${from}). New instances end; what is in flight in them is finished first.`,
    told: "goes back",
    isDanger: true,
  },
  force: {
    words: "Force",
    title: "Force the rollout?",
    effect: (model, { to }) =>
      `Old instances end now, and nothing goes back by itself. Until instances of revision ${to} are ready ${model.name} may answer 503.`,
    told: "was forced",
    isDanger: true,
  },
};

/** Why it cannot be given now; null: it can. */
export function useSteeringRefusal(model: Model): (steer: Steer) => string | null {
  const may = useMay()("operate", model.namespace, model.name);
  const rollout = model.status.rollout;
  return (steer) => {
    if (!may) return `Needs the role operator in namespace ${model.namespace}.`;
    if (!rollout) return "No rollout is under way.";
    if (rollout.forced && steer !== "cancel") return "The rollout was forced: old instances are ending already.";
    if (steer === "pause" && rollout.paused) return "It is paused already.";
    if (steer === "resume" && !rollout.paused) return "It is not paused.";
    if ((steer === "promote" || steer === "abort" || steer === "percent") && !rollout.canary)
      return "The rollout has no canary now: it replaces instances one after the other.";
    return null;
  };
}

async function give(model: Model, steer: Steer, reason: string, percent: number) {
  const params = { path: pathOf(model) };
  const body = { reason };
  switch (steer) {
    case "pause":
      return ask(api.POST("/api/v1/namespaces/{namespace}/models/{name}/rollout/pause", { params, body }));
    case "resume":
      return ask(api.POST("/api/v1/namespaces/{namespace}/models/{name}/rollout/resume", { params, body }));
    case "promote":
      return ask(api.POST("/api/v1/namespaces/{namespace}/models/{name}/rollout/promote", { params, body }));
    case "abort":
      return ask(api.POST("/api/v1/namespaces/{namespace}/models/{name}/rollout/abort", { params, body }));
    case "cancel":
      return ask(api.POST("/api/v1/namespaces/{namespace}/models/{name}/rollout/cancel", { params, body }));
    case "force":
      return ask(api.POST("/api/v1/namespaces/{namespace}/models/{name}/rollout/force", { params, body }));
    case "percent":
      return ask(
        api.POST("/api/v1/namespaces/{namespace}/models/{name}/rollout/percent", { params, body: { percent, reason } }),
      );
  }
}

export function useSteer(model: Model, done: () => void) {
  return useMutation({
    mutationFn: ({ steer, reason, percent = 0 }: { steer: Steer; reason: string; percent?: number }) =>
      give(model, steer, reason, percent),
    onSuccess: (_, { steer }) => {
      notify("info", `The rollout of ${model.name} ${STEERING[steer].told}`);
      void queryClient.invalidateQueries({ queryKey: keys.model(model.namespace, model.name) });
      done();
    },
  });
}
