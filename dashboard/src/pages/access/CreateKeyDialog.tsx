/** Make an API key: its role, its models, its end and its rate. */

import { Split, SplitItem, TextInput } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import { Field, FormDialog, wrongWith, ReasonField } from "../../components/FormDialog";
import { endOf, LONG, startEnd, Until } from "../../components/Until";
import { askAgain, createKey, type NewApiKey, type Role } from "./calls";
import { parts, PatternsField, RoleField } from "./roles";

const NAME = /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/;

interface Props {
  scope: string;
  close: () => void;
  made: (key: NewApiKey) => void;
}

export function CreateKeyDialog({ scope, close, made }: Props) {
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("user");
  const [models, setModels] = useState("");
  const [groups, setGroups] = useState("");
  const [perSecond, setPerSecond] = useState("");
  const [burst, setBurst] = useState("");
  const [end, setEnd] = useState(startEnd(1));
  const [reason, setReason] = useState("");
  const id = useId();
  const creating = useMutation({
    mutationFn: () =>
      createKey(scope, {
        name,
        role,
        models: parts(models),
        groups: parts(groups),
        rate: perSecond ? { per_second: Number(perSecond), burst: burst ? Number(burst) : null } : null,
        expires_at: endOf(end, LONG) ?? null,
        reason,
      }),
    onSuccess: (key) => {
      void askAgain(scope);
      made(key);
    },
  });
  const wrong = (path: string) => wrongWith(creating.error, path);
  const badName = name !== "" && !NAME.test(name);
  const badRate =
    (perSecond !== "" && !(Number(perSecond) > 0)) || (burst !== "" && (!perSecond || !/^[1-9]\d*$/.test(burst)));
  const isWhole = NAME.test(name) && !badRate && endOf(end, LONG) !== undefined;
  return (
    <FormDialog
      title="Make an API key"
      description={scope ? `It reaches namespace ${scope} only.` : "It reaches all namespaces."}
      words="Make it"
      refused="It was not made"
      mutation={creating}
      submit={() => creating.mutate()}
      close={close}
      isDisabled={!isWhole}
      variant="medium"
    >
      <Field
        label="Name"
        id={`${id}-name`}
        isRequired
        wrong={wrong("name") ?? (badName ? "Small letters, digits and hyphens, beginning with a letter." : undefined)}
        help="What it is for: ci, notebook, web-shop. The record names it so."
      >
        <TextInput
          id={`${id}-name`}
          value={name}
          onChange={(_, value) => setName(value)}
          autoComplete="off"
          validated={badName ? "error" : "default"}
          aria-describedby={`${id}-name-help`}
        />
      </Field>
      <RoleField scope={scope} role={role} choose={setRole} wrong={wrong("role")} />
      <PatternsField text={models} write={setModels} wrong={wrong("models")} />
      <Field label="Ends" id={`${id}-end`} role="group" wrong={wrong("expires_at")}>
        <Until id={`${id}-end`} label="Ends" whiles={LONG} end={end} choose={setEnd} />
      </Field>
      <Field
        label="Rate"
        id={`${id}-rate`}
        role="group"
        wrong={wrong("rate") ?? (badRate ? "Numbers above 0; the burst goes with a rate." : undefined)}
        help="Requests to models. One too many is answered 429. Left empty: no bound."
      >
        <Split hasGutter>
          <SplitItem isFilled>
            <TextInput
              id={`${id}-rate`}
              aria-label="Requests a second"
              placeholder="a second"
              inputMode="decimal"
              value={perSecond}
              onChange={(_, value) => setPerSecond(value)}
            />
          </SplitItem>
          <SplitItem isFilled>
            <TextInput
              id={`${id}-burst`}
              aria-label="At once"
              placeholder="at once"
              inputMode="numeric"
              value={burst}
              onChange={(_, value) => setBurst(value)}
            />
          </SplitItem>
        </Split>
      </Field>
      <Field
        label="Groups"
        id={`${id}-groups`}
        wrong={wrong("groups")}
        help="It counts as a member of these, for models that are for groups only."
      >
        <TextInput
          id={`${id}-groups`}
          value={groups}
          onChange={(_, value) => setGroups(value)}
          placeholder="vision, speech"
          autoComplete="off"
        />
      </Field>
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}
