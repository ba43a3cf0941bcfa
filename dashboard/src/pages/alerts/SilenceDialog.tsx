/** Tell nobody of an alert for a while. */

import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import { Field, FormDialog, wrongWith, ReasonField } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { endOf, SHORT, startEnd, Until } from "../../components/Until";
import { askAlertsAgain, silence, type Alert } from "./calls";
import { KINDS } from "./kinds";

export function SilenceDialog({ alert, close }: { alert: Alert; close: () => void }) {
  const [end, setEnd] = useState(startEnd(0));
  const [reason, setReason] = useState("");
  const id = useId();
  const until = endOf(end, SHORT);
  const silencing = useMutation({
    mutationFn: (until: string) => silence(alert.fingerprint, until, reason),
    onSuccess: () => {
      notify("success", `${KINDS[alert.kind].words} of ${alert.model} is silenced`);
      void askAlertsAgain();
      close();
    },
  });
  return (
    <FormDialog
      title={`Silence ${KINDS[alert.kind].words.toLowerCase()} of ${alert.model}`}
      description="Nobody is told of it meanwhile. If it still fires afterwards, they are told then. It goes on to show here."
      words="Silence"
      refused="It was not silenced"
      mutation={silencing}
      submit={() => until && silencing.mutate(until)}
      close={close}
      isDisabled={!until}
    >
      <Field label="How long" id={`${id}-end`} role="group" wrong={wrongWith(silencing.error, "until")}>
        <Until id={`${id}-end`} label="How long" whiles={SHORT} end={end} choose={setEnd} />
      </Field>
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}
