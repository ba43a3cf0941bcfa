/** Terminate one instance: another takes its place. */

import { Alert, Radio } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import { api, ask, type Schemas } from "../../../api/client";
import type { Model } from "../../../api/queries";
import { Field, FormDialog, ReasonField } from "../../../components/FormDialog";
import { many } from "../../../components/quantities";
import { notify } from "../../../components/notices";
import { pathOf } from "../parts";

interface Props {
  model: Model;
  instance: Schemas["Instance"];
  inFlight: number | null;
  close: () => void;
}

export function TerminateDialog({ model, instance, inFlight, close }: Props) {
  const [force, setForce] = useState(false);
  const [reason, setReason] = useState("");
  const id = useId();
  const asking = useMutation({
    mutationFn: () =>
      ask(
        api.DELETE("/api/v1/namespaces/{namespace}/models/{name}/instances/{instance}", {
          params: { path: { ...pathOf(model), instance: instance.id }, query: { force, reason } },
        }),
      ),
    onSuccess: () => {
      notify("info", `Instance ${instance.id} is ending`, "Another takes its place.");
      close();
    },
  });
  const ready = model.status.instances.filter(({ phase }) => phase === "ready");
  const isLast = ready.length === 1 && ready[0]?.id === instance.id;

  return (
    <FormDialog
      title={`Terminate instance ${instance.id}?`}
      description="It ends, and another of the same revision takes its place. The model itself stays started."
      words={force ? "Kill now" : "Terminate"}
      refused="It was not terminated"
      mutation={asking}
      submit={asking.mutate}
      close={close}
      isDangerous
    >
      {isLast && (
        <Alert variant="warning" isInline component="p" isPlain title="It is the only one that serves.">
          Until the next one is ready callers get 503.
        </Alert>
      )}
      <Field role="radiogroup" label="How" id={`${id}-how`}>
        <Radio
          id={`${id}-drain`}
          name={`${id}-how`}
          label="Drain: finish what is in flight, for 30 seconds at most"
          isChecked={!force}
          onChange={() => setForce(false)}
        />
        <Radio
          id={`${id}-force`}
          name={`${id}-how`}
          label="Force: kill at once"
          description={
            inFlight === null ? "Requests in flight are cut off." : `${many(inFlight, "request")} in flight now.`
          }
          isChecked={force}
          onChange={() => setForce(true)}
        />
      </Field>
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}
