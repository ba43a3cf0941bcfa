/** Give a key another secret, or end it. */

import { Content } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import { Ago } from "../../components/Ago";
import { Field, FormDialog, ReasonField } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { PickOne } from "../../components/Pick";
import { askAgain, revokeKey, rotateKey, type ApiKey, type NewApiKey } from "./calls";

interface Props {
  scope: string;
  of: ApiKey;
  close: () => void;
}

const OVERLAPS = [
  { value: "0s", words: "Not at all: it is refused at once", seconds: 0 },
  { value: "1h", words: "An hour", seconds: 3600 },
  { value: "24h", words: "A day", seconds: 86_400 },
  { value: "168h", words: "A week", seconds: 604_800 },
  { value: "720h", words: "30 days", seconds: 2_592_000 },
];

export function RotateKeyDialog({ scope, of, close, made }: Props & { made: (key: NewApiKey) => void }) {
  const [overlap, setOverlap] = useState("1h");
  const id = useId();
  const rotating = useMutation({
    mutationFn: () => rotateKey(scope, of.id, overlap),
    onSuccess: (key) => {
      void askAgain(scope);
      made(key);
    },
  });
  const seconds = OVERLAPS.find(({ value }) => value === overlap)?.seconds ?? 0;
  return (
    <FormDialog
      title={`Rotate ${of.name}`}
      description="It gets another secret; its role, models and end stay."
      words="Rotate"
      refused="It was not rotated"
      mutation={rotating}
      submit={() => rotating.mutate()}
      close={close}
    >
      <Field label="The old secret works for" id={`${id}-overlap`} role="group">
        <PickOne label="The old secret works for" value={overlap} onPick={setOverlap} choices={OVERLAPS} isFullWidth />
      </Field>
      <Content>
        {seconds ? (
          <>
            Until {new Date(Date.now() + seconds * 1000).toLocaleString()} both work. Give the new one to its program by
            then.
          </>
        ) : (
          "Whoever uses the old one is refused until it has the new one."
        )}
      </Content>
    </FormDialog>
  );
}

export function RevokeKeyDialog({ scope, of, close }: Props) {
  const [reason, setReason] = useState("");
  const revoking = useMutation({
    mutationFn: () => revokeKey(scope, of.id, reason),
    onSuccess: () => {
      notify("success", `The key ${of.name} is revoked`);
      void askAgain(scope);
      close();
    },
  });
  return (
    <FormDialog
      title={`Revoke ${of.name}?`}
      words="Revoke"
      refused="It was not revoked"
      isDangerous
      mutation={revoking}
      submit={() => revoking.mutate()}
      close={close}
    >
      <Content>
        <p>
          {of.last_used_at ? (
            <>
              It was last used <Ago at={of.last_used_at} />. Whatever uses it is refused from now on.
            </>
          ) : (
            "It was never used: nothing that was seen breaks."
          )}
        </p>
        <p>A revoked key never works again; make a new one in its place.</p>
      </Content>
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}
