/** Remove a schedule: the model stays as it is, and nobody starts or stops it any more. */

import { useState } from "react";

import type { Model } from "../../../api/queries";
import { FormDialog, ReasonField } from "../../../components/FormDialog";
import { notify } from "../../../components/notices";
import { useRemove } from "./data";

export function RemoveDialog({ model, close, done }: { model: Model; close: () => void; done: () => void }) {
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
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}
