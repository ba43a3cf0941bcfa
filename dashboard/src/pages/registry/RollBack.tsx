/** An alias goes back to where it pointed before its last move. */

import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { useModels } from "../../api/queries";
import { FormDialog, ReasonField } from "../../components/FormDialog";
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
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}
