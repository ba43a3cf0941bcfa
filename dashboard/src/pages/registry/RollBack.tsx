/** An alias goes back to where it pointed before its last move. */

import { TextInput } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import { useModels } from "../../api/queries";
import { Field, FormDialog } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { rollBackAlias } from "./commands";
import { Effect } from "./MoveAlias";
import type { Alias, Place } from "./queries";

interface Props {
  place: Place;
  alias: Alias;
  /** Where it was; null while that is not known. */
  before: string | null;
  close: () => void;
}

export function RollBack({ place, alias, before, close }: Props) {
  const [reason, setReason] = useState("");
  const models = useModels().data ?? [];
  const id = useId();
  const rolling = useMutation({
    mutationFn: () => rollBackAlias(place, alias.alias, reason),
    onSuccess: (moved) => {
      notify("success", `${place.name}@${moved.alias} means ${moved.version} again`);
      close();
    },
  });
  return (
    <FormDialog
      title={`Roll ${alias.alias} back?`}
      words="Roll back"
      refused="It was not rolled back"
      mutation={rolling}
      submit={rolling.mutate}
      close={close}
    >
      <div role="status">
        {before && <Effect place={place} alias={alias.alias} now={alias.version} to={before} models={models} />}
      </div>
      <Field label="Reason" id={`${id}-reason`}>
        <TextInput id={`${id}-reason`} value={reason} onChange={(_, value) => setReason(value)} />
      </Field>
    </FormDialog>
  );
}
