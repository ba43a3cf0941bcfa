/** What to do about each condition that is not as it should be, by its reason (see domain/ of the server). */

import type { Schemas } from "../../api/client";
import type { Model } from "../../api/queries";

type Condition = Schemas["Condition"];

export interface Step {
  words: string;
  /** Where that is done: a tab of the model, or a page. */
  to?: { words: string; path: string };
}

const LOG = { words: "Its log", path: "logs" };
const UPDATE = { words: "Update it", path: "update" };
const REVISIONS = { words: "Revisions", path: "revisions" };
const ROLLOUT = { words: "The rollout", path: "traffic" };

/** Failures by their code: what their message does not say already. */
const FAILURES: Record<string, Step> = {
  crash_loop: {
    words: "It is tried again ever more slowly. Look at its last lines, then update it or start it again.",
    to: LOG,
  },
  crashed: { words: "Look at its last lines. It is started again by itself.", to: LOG },
  load_failed: { words: "Look at its last lines. It is started again by itself.", to: LOG },
  invalid_model: {
    words: "The files are no model that this engine serves: correct the source or the engine.",
    to: UPDATE,
  },
  out_of_memory: { words: "Give it more with resources.memory, or serve a smaller model.", to: UPDATE },
  start_timeout: { words: "See in its log how far it comes; allow more time where it is only slow.", to: LOG },
  unhealthy: { words: "Its health check fails: see why in its log, or correct the check.", to: LOG },
  probe_failed: {
    words: "Its probe request is not answered as expected: correct the model, or the probe.",
    to: UPDATE,
  },
  no_device: {
    words: "No device is there that it may use: ask for fewer, or run it where there are some.",
    to: UPDATE,
  },
  storage_error: { words: "Free or mend the disk of the machine. It is started again by itself." },
  no_space: { words: "Free some of the disk of the machine. It is started again by itself." },
  port_in_use: { words: "Another program has its port: end that, or give it another one.", to: UPDATE },
  secret_lost: { words: "Set its secrets again.", to: UPDATE },
  unresolved: { words: "Its source means nothing now: name a version or an address that is there.", to: UPDATE },
  missing_content: {
    words: "Files of this version are gone from the store: push it again, or serve another version.",
    to: UPDATE,
  },
  damaged_content: { words: "Files of this version are damaged: push it again, or serve another version.", to: UPDATE },
  no_registry: { words: "This server has no registry to have it from: name another source.", to: UPDATE },
  progress_deadline_exceeded: { words: "The rollout got nowhere in its time. See what it waited for.", to: REVISIONS },
  canary_aborted: { words: "Compare the revisions, then update it again.", to: REVISIONS },
};

const READY: Record<string, Step> = {
  Stopped: { words: "It holds nothing. Start it to use it; callers get 503 until then." },
  Idle: { words: "Nothing to do: the next request starts it." },
  Preempted: { words: "It comes back by itself. Raise its priority if it should keep its place.", to: UPDATE },
  Queued: { words: "It starts by itself once there is room. See what is short under Capacity." },
  Starting: { words: "Wait for it; what it does is in its log.", to: LOG },
  Stopping: { words: "Wait until it is stopped. A stop always finishes, and may be forced." },
  Replacing: { words: "Wait for its new instances; callers get 503 for that long.", to: ROLLOUT },
};

const PROGRESSING: Record<string, Step> = {
  Replacing: { words: "Follow it, or pause or cancel it.", to: ROLLOUT },
  Launching: {
    words: "Nothing to do: the rest of its instances is on the way.",
    to: { words: "Instances", path: "instances" },
  },
  Retrying: { words: "It is tried again by itself. What fails is in its log.", to: LOG },
  Restarting: { words: "It is started again by itself. What failed is in its log.", to: LOG },
};

const DEGRADED: Record<string, Step> = {
  UpdateFailed: {
    words: "The last good revision serves. See what the failed one changed, and update it again.",
    to: REVISIONS,
  },
  Stuck: { words: "No request goes to it. End the process on the machine, or mend what it waits for." },
};

const CAPACITY: Record<string, Step> = {
  InsufficientCapacity: { words: "Stop one of the models that hold it, or ask for less.", to: UPDATE },
  QuotaExceeded: { words: "Stop another model of the namespace, ask for less, or have the quota raised.", to: UPDATE },
  Preempted: { words: "It comes back by itself once there is room." },
};

const OTHERS: Record<string, Step> = {
  ActionFailed: {
    words: "It is tried again by itself. See what came of it.",
    to: { words: "Schedule", path: "schedule" },
  },
  ArmAbsent: {
    words: "Start those models, or take them out of the traffic.",
    to: { words: "Traffic", path: "traffic" },
  },
  SiteDown: { words: "Bring Modelyard up on that machine again." },
  SiteSilent: { words: "Look whether that machine runs and reaches the database. What runs there may serve on." },
};

/** Null: there is nothing to do. */
export function nextStep({ type, status, reason }: Condition, model: Model): Step | null {
  switch (type) {
    case "Ready":
      return status ? null : (READY[reason] ?? FAILURES[reason] ?? failed(model));
    case "Progressing":
      return status ? (PROGRESSING[reason] ?? null) : null;
    case "Degraded":
      return status ? (DEGRADED[reason] ?? FAILURES[reason] ?? failed(model)) : null;
    case "CapacityAvailable":
      return status ? null : (CAPACITY[reason] ?? null);
    default:
      return status ? null : (OTHERS[reason] ?? null);
  }
}

/** Of a failure that is not among those above. */
function failed({ status, generation }: Model): Step {
  if (generation > 1 && status.state === "error") {
    return { words: "Go back to a revision that worked, or update it.", to: REVISIONS };
  }
  return status.retry_at
    ? { words: "It is tried again by itself. What fails is in its log.", to: LOG }
    : { words: "Correct what the message says, and update it.", to: UPDATE };
}
