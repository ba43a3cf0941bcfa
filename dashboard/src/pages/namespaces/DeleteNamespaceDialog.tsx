/** Forget an empty namespace; the server says what is still in it. */

import { Content, TextInput } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import { Field, FormDialog } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { askNamespacesAgain, deleteNamespace } from "./calls";

export function DeleteNamespaceDialog({ name, close, done }: { name: string; close: () => void; done: () => void }) {
  const [typed, type] = useState("");
  const id = useId();
  const deleting = useMutation({
    mutationFn: () => deleteNamespace(name),
    onSuccess: () => {
      notify("success", `Namespace ${name} is gone`);
      close();
      done();
      void askNamespacesAgain();
    },
  });
  return (
    <FormDialog
      title={`Delete namespace ${name}?`}
      words="Delete"
      refused="It was not deleted"
      isDangerous
      mutation={deleting}
      submit={() => deleting.mutate()}
      close={close}
      isDisabled={typed !== name}
    >
      <Content>
        Its members lose their roles in it, its API keys no longer work, and its rules, policies and webhooks are gone.
        The record of who did what stays.
      </Content>
      <Field label={`Type ${name} to confirm`} id={`${id}-name`} isRequired>
        <TextInput id={`${id}-name`} value={typed} onChange={(_, value) => type(value)} autoComplete="off" />
      </Field>
    </FormDialog>
  );
}
