/** Delete a policy: what it has stopped stays so. */

import { useState } from "react";

import { FormDialog, ReasonField } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { useDeletePolicy, type Policy } from "./data";

export function DeletePolicy({ policy, close, done }: { policy: Policy; close: () => void; done: () => void }) {
  const [reason, setReason] = useState("");
  const deleting = useDeletePolicy(policy);
  return (
    <FormDialog
      title={`Delete policy ${policy.name}?`}
      description="It no longer holds for anybody, and its exceptions go with it. What it has stopped stays stopped."
      words="Delete"
      refused="It was not deleted"
      isDangerous
      mutation={deleting}
      close={close}
      submit={() =>
        deleting.mutate(reason, {
          onSuccess: () => {
            notify("success", `Policy ${policy.name} is deleted`);
            done();
          },
        })
      }
    >
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}
