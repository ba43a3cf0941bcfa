/** Remove a schedule: the model stays as it is, and nobody starts or stops it any more. */

import { TextInput } from "@patternfly/react-core";
import { useId, useState } from "react";

import type { Model } from "../../../api/queries";
import { Field, FormDialog } from "../../../components/FormDialog";
import { notify } from "../../../components/notices";
import { useRemove } from "./data";

export function RemoveDialog({ model, close, done }: { model: Model; close: () => void; done: () => void }) {
  const id = useId();
  const [reason, setReason] = useState("");
  const removing = useRemove(model);
  const is = model.status.state === "stopped" ? "stopped" : "as it is";
  return (
    <FormDialog
      title={`Remove the schedule of ${model.name}?`}
      description={`The model stays ${is}: from then on only people start and stop it. To keep the windows for later, disable it instead.`}
      words="Remove"
      refused="It was not removed"
      isDangerous
      mutation={removing}
      close={close}
      submit={() =>
        removing.mutate(reason, {
          onSuccess: () => {
            notify("success", `${model.name} has no schedule any more`);
            close();
            done();
          },
        })
      }
    >
      <Field label="Reason" id={`${id}-reason`}>
        <TextInput id={`${id}-reason`} value={reason} onChange={(_, value) => setReason(value)} />
      </Field>
    </FormDialog>
  );
}
