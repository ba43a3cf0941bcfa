/** Leave a model running for longer, once. */

import { TextInput } from "@patternfly/react-core";
import { useId, useState } from "react";

import type { Model } from "../../../api/queries";
import { Field, FormDialog, wrongWith } from "../../../components/FormDialog";
import { notify } from "../../../components/notices";
import { stopOf } from "../../../components/schedule/rules";
import { useExtend, type Schedule } from "./data";

export function ExtendDialog({ model, schedule, close }: { model: Model; schedule: Schedule; close: () => void }) {
  const id = useId();
  const [until, setUntil] = useState("22:00");
  const [reason, setReason] = useState("");
  const extending = useExtend(model);
  const isTime = stopOf(until) !== null;
  return (
    <FormDialog
      title={`Keep ${model.name} running`}
      description="The stop that comes next is put off until then, once. Another extension replaces this one."
      words="Keep it running"
      refused="It is not kept running"
      mutation={extending}
      isDisabled={!isTime}
      close={close}
      submit={() =>
        extending.mutate(
          { until, reason },
          {
            onSuccess: () => {
              notify("success", `${model.name} is kept running until ${until}`);
              close();
            },
          },
        )
      }
    >
      <Field
        label="Until, today"
        id={`${id}-until`}
        isRequired
        help={`By the clock of ${schedule.timezone}.`}
        wrong={isTime ? wrongWith(extending.error, "until") : "Write the time as HH:MM, for example 22:00."}
      >
        <TextInput
          id={`${id}-until`}
          value={until}
          onChange={(_, value) => setUntil(value)}
          validated={isTime ? "default" : "error"}
          aria-describedby={`${id}-until-help`}
          autoComplete="off"
        />
      </Field>
      <Field label="Reason" id={`${id}-reason`}>
        <TextInput
          id={`${id}-reason`}
          value={reason}
          onChange={(_, value) => setReason(value)}
          placeholder="Shown with the stop that it leads to"
          maxLength={200}
        />
      </Field>
    </FormDialog>
  );
}
