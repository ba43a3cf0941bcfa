/** One command on a rollout: what comes of it, and why it is given. */

import { Content, TextInput } from "@patternfly/react-core";
import { useId, useState } from "react";

import type { Schemas } from "../../../api/client";
import type { Model } from "../../../api/queries";
import { Field, FormDialog, ReasonField } from "../../../components/FormDialog";
import { STEERING, useSteer, type Steer } from "./steering";

interface Props {
  model: Model;
  rollout: Schemas["RolloutStatus"];
  steer: Steer;
  close: () => void;
}

export function SteerDialog({ model, rollout, steer, close }: Props) {
  const { words, title, effect, isDanger } = STEERING[steer];
  const [reason, setReason] = useState("");
  const [percent, setPercent] = useState(String(rollout.canary?.next_percent ?? rollout.canary?.wanted ?? 50));
  const id = useId();
  const steering = useSteer(model, close);
  const wrong = steer === "percent" && !/^[1-9]\d?$/.test(percent);
  return (
    <FormDialog
      title={title}
      words={words}
      refused="It was not done"
      mutation={steering}
      submit={() => steering.mutate({ steer, reason, percent: Number(percent) })}
      close={close}
      isDisabled={wrong}
      isDangerous={isDanger ?? false}
      back={steer === "cancel" ? "Back" : "Cancel"}
    >
      <Content>{effect(model, rollout)}</Content>
      {steer === "percent" && (
        <Field
          label="Per cent of the requests"
          id={`${id}-percent`}
          wrong={wrong ? "From 1 to 99. Promote it to send all, abort it to send none." : undefined}
          isRequired
        >
          <TextInput
            id={`${id}-percent`}
            inputMode="numeric"
            value={percent}
            validated={wrong ? "error" : "default"}
            onChange={(_, value) => setPercent(value)}
          />
        </Field>
      )}
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}
