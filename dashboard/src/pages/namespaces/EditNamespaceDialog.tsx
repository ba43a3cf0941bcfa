/** Edit what a namespace is for and what its models may hold. */

import { Alert, TextInput } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import { Field, FormDialog, wrongWith } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { askNamespacesAgain, patchNamespace, type Namespace } from "./calls";
import { overshot, quotaDraft, QuotaFields, quotaOf, wrongInQuota } from "./quota";

export function EditNamespaceDialog({ namespace, close }: { namespace: Namespace; close: () => void }) {
  const [description, setDescription] = useState(namespace.description);
  const [quota, setQuota] = useState(quotaDraft(namespace.quota));
  const id = useId();
  const patching = useMutation({
    mutationFn: () => patchNamespace(namespace.name, { description, quota: quotaOf(quota) }),
    onSuccess: () => {
      notify("success", `Namespace ${namespace.name} is changed`);
      void askNamespacesAgain();
      close();
    },
  });
  const wrong = wrongInQuota(quota);
  const isRight = Object.keys(wrong).length === 0;
  return (
    <FormDialog
      title={`Edit ${namespace.name}`}
      words="Save"
      refused="It was not changed"
      mutation={patching}
      submit={() => patching.mutate()}
      close={close}
      isDisabled={!isRight}
      variant="medium"
    >
      <Field label="Description" id={`${id}-description`} wrong={wrongWith(patching.error, "description")}>
        <TextInput id={`${id}-description`} value={description} onChange={(_, value) => setDescription(value)} />
      </Field>
      <QuotaFields
        draft={quota}
        write={setQuota}
        usage={namespace.usage}
        said={(field) => wrong[field] ?? wrongWith(patching.error, `quota.${field}`)}
      />
      {isRight && overshot(quota, namespace.usage) && (
        <Alert variant="warning" isInline component="p" title="It holds more than that now">
          What runs goes on. Nothing more starts until it is below the quota.
        </Alert>
      )}
      {isRight && quota.memory !== "" && namespace.quota.memory === null && (
        <Alert variant="info" isInline component="p" title="Its models must say their memory then">
          A deploy, an update or a start of one without <code>resources.memory</code> is refused.
        </Alert>
      )}
    </FormDialog>
  );
}
