/** Operations that are under way: where each stands, what comes, and whether it can be cancelled. */

import {
  Alert,
  Button,
  CodeBlock,
  CodeBlockCode,
  Progress,
  ProgressMeasureLocation,
  Spinner,
  Tooltip,
} from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";

import { api, ask } from "../../api/client";
import { queryClient, keys, type Model, type Operation } from "../../api/queries";
import { useMay } from "../../app/permissions";
import { Ago } from "../../components/Ago";
import { messageOf } from "../../components/Failed";
import { notify } from "../../components/notices";

const KINDS: Record<Operation["kind"], string> = {
  deploy: "Deploying",
  start: "Starting",
  stop: "Stopping",
  restart: "Restarting",
  update: "Updating",
  rollback: "Rolling back",
  redeploy: "Redeploying",
  terminate: "Terminating an instance",
  delete: "Deleting",
  bulk: "Part of a command on many models",
};

const STEPS: Record<string, string> = {
  intake: "taken",
  validate: "checked",
  prepare: "launching new instances",
  roll_out: "replacing instances",
  verify: "verifying",
  finish: "done",
  accepted: "taken",
};

// The steps of an operation that replaces instances; the others go through states of the model.
const ROLLOUT = ["intake", "validate", "prepare", "roll_out", "verify", "finish"];
const FINISHES: ReadonlySet<string> = new Set(["stop", "delete", "terminate"]);

/** 0 to 100; null: it goes through states of the model, and nobody knows how long each takes. */
function percentOf({ steps, done }: Operation): number | null {
  if (done) return 100;
  const place = ROLLOUT.indexOf(steps.at(-1)?.name ?? "");
  return place >= 0 ? ((place + 0.5) / ROLLOUT.length) * 100 : null;
}

export function OperationProgress({ model, operation }: { model: Model; operation: Operation }) {
  const step = operation.steps.at(-1);
  const title = `${KINDS[operation.kind]}: ${STEPS[step?.name ?? ""] ?? step?.name ?? "taken"}`;
  const percent = percentOf(operation);
  const whose = (
    <span className="yard-quiet">
      {percent !== null && step?.message} Asked by {operation.actor} <Ago at={operation.created_at} />
      {operation.reason && `: ${operation.reason}`}
    </span>
  );
  return (
    <div className="yard-operation">
      {percent === null ? (
        <div className="yard-line">
          <Spinner size="sm" aria-label="Under way" />
          <span>
            {title} {whose}
          </span>
        </div>
      ) : (
        <Progress
          value={percent}
          size="sm"
          measureLocation={ProgressMeasureLocation.none}
          title={title}
          aria-label={title}
          helperText={whose}
        />
      )}
      <Cancel model={model} operation={operation} />
    </div>
  );
}

function Cancel({ model, operation }: { model: Model; operation: Operation }) {
  const may = useMay()("operate", model.namespace, model.name);
  const cancelling = useMutation({
    mutationFn: () =>
      ask(api.POST("/api/v1/operations/{operation}/cancel", { params: { path: { operation: operation.id } } })),
    onSuccess: () => {
      notify("info", `${KINDS[operation.kind]} ${model.name} was cancelled`);
      void queryClient.invalidateQueries({ queryKey: keys.of(model.namespace, model.name, "operations") });
    },
    onError: (error) => notify("danger", "It was not cancelled", messageOf(error)),
  });
  const why = FINISHES.has(operation.kind)
    ? `A ${operation.kind} always finishes.`
    : may
      ? null
      : `Needs the role operator in namespace ${model.namespace}.`;
  const goesBack = ROLLOUT.includes(operation.steps.at(-1)?.name ?? "");
  const button = (
    <Button
      variant="secondary"
      size="sm"
      isAriaDisabled={why !== null}
      isLoading={cancelling.isPending}
      onClick={() => cancelling.mutate()}
      aria-label={`Cancel: ${KINDS[operation.kind]}`}
    >
      Cancel
    </Button>
  );
  return (
    <Tooltip content={why ?? (goesBack ? "Goes back to the last good revision." : "Stops the model at once.")}>
      {button}
    </Tooltip>
  );
}

/** One that was asked for here, until its end. */
export function Followed({ model, operation }: { model: Model; operation: Operation }) {
  if (!operation.done) {
    return (
      <div role="status">
        <OperationProgress model={model} operation={operation} />
        <p className="yard-quiet">You may close this: it goes on.</p>
      </div>
    );
  }
  if (operation.state === "succeeded")
    return <Alert variant="success" isInline component="p" title="Done." role="status" />;
  return (
    <Alert
      variant={operation.state === "cancelled" ? "warning" : "danger"}
      isInline
      component="p"
      title={operation.state === "cancelled" ? "Cancelled" : "It failed"}
      role="alert"
    >
      <p>{operation.error?.message}</p>
      {operation.error && operation.error.log.length > 0 && (
        <CodeBlock>
          <CodeBlockCode>{operation.error.log.join("\n")}</CodeBlockCode>
        </CodeBlock>
      )}
    </Alert>
  );
}
