/** Delete a registered model or one of its versions, and bring either back. */

import { Alert } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";

import { useModels } from "../../api/queries";
import { messageOf } from "../../components/Failed";
import { FormDialog, ReasonField } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { Refusable } from "../../components/Refusable";
import { remove, restore } from "./commands";
import { useNeedsEdit } from "./needs";
import { useAliases, type Place } from "./queries";
import { servedOf } from "./served";

interface Props {
  place: Place;
  /** "" for the model with all its versions. */
  version: string;
  close: () => void;
  done?: () => void;
}

export function DeleteRegistered({ place, version, close, done }: Props) {
  const [reason, setReason] = useState("");
  const what = version ? `${place.name}@${version}` : place.name;
  const served = servedOf(useModels().data ?? [], place).filter(
    (model) => !version || model.status.artifact?.version === version,
  );
  const aliases = (useAliases(place).data ?? []).filter((alias) => version && alias.version === version);
  const deleting = useMutation({
    mutationFn: () => remove(place, version, reason),
    onSuccess: () => {
      notify("info", `${what} is deleted`, "It can be restored for seven days.");
      close();
      done?.();
    },
  });
  return (
    <FormDialog
      title={`Delete ${what}?`}
      description="It can be restored for seven days. After that its bytes go, and the number is never used again."
      words="Delete"
      refused="It was not deleted"
      mutation={deleting}
      submit={deleting.mutate}
      close={close}
      isDangerous
    >
      {served.length > 0 && (
        <Alert component="h2" isInline variant="warning" title="Models are made of it">
          {served.map(({ uid, namespace, name }) => (
            <div key={uid}>
              <Link to={`/models/${namespace}/${name}`}>{name}</Link>
            </div>
          ))}
          While one names it, it cannot be deleted.
        </Alert>
      )}
      {aliases.length > 0 && (
        <Alert
          component="h2"
          isInline
          variant="warning"
          title={`Aliases point at it: ${aliases.map(({ alias }) => alias).join(", ")}`}
        >
          Move them first; latest moves by itself.
        </Alert>
      )}
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}

export function Restore({ place, version }: { place: Place; version: string }) {
  const needs = useNeedsEdit(place);
  const what = version ? `${place.name}@${version}` : place.name;
  const restoring = useMutation({
    mutationFn: () => restore(place, version),
    onSuccess: () => notify("success", `${what} is back`),
    onError: (error) => notify("danger", `${what} was not restored`, messageOf(error)),
  });
  return (
    <Refusable
      why={needs}
      variant="link"
      isInline
      isLoading={restoring.isPending}
      aria-label={`Restore ${what}`}
      onClick={() => restoring.mutate()}
    >
      Restore
    </Refusable>
  );
}
