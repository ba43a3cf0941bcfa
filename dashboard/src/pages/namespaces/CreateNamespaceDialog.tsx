/** Make a namespace, with what it is for and what its models may hold. */

import { TextInput } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import { Field, FormDialog, wrongWith } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { askNamespacesAgain, createNamespace, type Namespace } from "./calls";
import { quotaDraft, QuotaFields, quotaOf, wrongInQuota } from "./quota";

const NAME = /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/;

export function CreateNamespaceDialog({ close, done }: { close: () => void; done: (made: Namespace) => void }) {
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const [quota, setQuota] = useState(quotaDraft());
  const id = useId();
  const creating = useMutation({
    mutationFn: () => createNamespace({ name, description, quota: quotaOf(quota) }),
    onSuccess: (made) => {
      notify("success", `Namespace ${made.name} is there`, "Give its members their roles next.");
      void askNamespacesAgain();
      done(made);
    },
  });
  const badName = name !== "" && !NAME.test(name);
  const wrong = wrongInQuota(quota);
  return (
    <FormDialog
      title="Make a namespace"
      words="Make it"
      refused="It was not made"
      mutation={creating}
      submit={() => creating.mutate()}
      close={close}
      isDisabled={!NAME.test(name) || Object.keys(wrong).length > 0}
      variant="medium"
    >
      <Field
        label="Name"
        id={`${id}-name`}
        isRequired
        wrong={
          wrongWith(creating.error, "name") ??
          (badName ? "Small letters, digits and hyphens, beginning with a letter." : undefined)
        }
        help="It stays: models are called by it."
      >
        <TextInput
          id={`${id}-name`}
          value={name}
          onChange={(_, value) => setName(value)}
          validated={badName ? "error" : "default"}
          placeholder="vision"
          autoComplete="off"
        />
      </Field>
      <Field label="Description" id={`${id}-description`}>
        <TextInput id={`${id}-description`} value={description} onChange={(_, value) => setDescription(value)} />
      </Field>
      <QuotaFields
        draft={quota}
        write={setQuota}
        said={(field) => wrong[field] ?? wrongWith(creating.error, `quota.${field}`)}
      />
    </FormDialog>
  );
}
