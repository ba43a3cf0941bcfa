/** Delete a model: what goes with it, and its name typed, because nothing brings it back. */

import { Content, TextInput } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import type { Model } from "../../api/queries";
import { Field, FormDialog, ReasonField } from "../FormDialog";
import { notify } from "../notices";
import { remove } from "./commands";

export function DeleteDialog({ model, close, done }: { model: Model; close: () => void; done?: () => void }) {
  const [typed, type] = useState("");
  const [reason, setReason] = useState("");
  const id = useId();
  const deleting = useMutation({
    mutationFn: () => remove(model, reason),
    onSuccess: () => {
      notify("info", `${model.name} is being deleted`);
      close();
      done?.();
    },
  });
  return (
    <FormDialog
      title={`Delete ${model.name}?`}
      words="Delete"
      refused="It was not deleted"
      mutation={deleting}
      submit={deleting.mutate}
      close={close}
      isDisabled={typed !== model.name}
      isDangerous
    >
      <Content>
        Its instances end, and its spec, revisions and schedule are gone for good. Versions in the registry and the
        record of who did what stay.
      </Content>
      <Field label={`Type ${model.name} to confirm`} id={`${id}-name`} isRequired>
        <TextInput id={`${id}-name`} value={typed} onChange={(_, value) => type(value)} autoComplete="off" />
      </Field>
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}
