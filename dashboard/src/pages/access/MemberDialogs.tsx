/** Give somebody a role, change it, take it away. */

import { Content, TextInput } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import { Field, FormDialog, wrongWith, ReasonField } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { askAgain, putMember, removeMember, type Member, type Role } from "./calls";
import { parts, PatternsField, RoleField, roleWords } from "./roles";

interface Props {
  scope: string;
  close: () => void;
}

const MEMBER = /^(group:.+|subject:.+|[^@\s]+@[^@\s]+)$/;
const where = (scope: string) => (scope ? `namespace ${scope}` : "all namespaces");

export function MemberDialog({ scope, member, close }: Props & { member: Member | null }) {
  const [name, setName] = useState(member?.member ?? "");
  const [role, setRole] = useState<Role>(member?.role ?? "viewer");
  const [models, setModels] = useState(member?.models.join(", ") ?? "");
  const [reason, setReason] = useState("");
  const id = useId();
  const putting = useMutation({
    mutationFn: () => putMember(scope, name.trim(), { role, models: parts(models), reason }),
    onSuccess: (put) => {
      notify("success", `${put.member} is ${roleWords(put.role).toLowerCase()} in ${where(scope)}`);
      void askAgain(scope);
      close();
    },
  });
  const isOne = MEMBER.test(name.trim());
  return (
    <FormDialog
      title={member ? `Change ${member.member}` : "Add a member"}
      description={`Of ${where(scope)}.`}
      words={member ? "Save" : "Add"}
      refused={member ? "It was not changed" : "It was not added"}
      mutation={putting}
      submit={() => putting.mutate()}
      close={close}
      isDisabled={!isOne}
    >
      {!member && (
        <Field
          label="Who"
          id={`${id}-name`}
          isRequired
          wrong={
            wrongWith(putting.error, "member") ??
            (name && !isOne ? "An e-mail address, group:NAME or subject:NAME." : undefined)
          }
          help="An e-mail address, group:NAME as its token says, or subject:NAME."
        >
          <TextInput
            id={`${id}-name`}
            value={name}
            onChange={(_, value) => setName(value)}
            placeholder="alice@example.com"
            autoComplete="off"
            aria-describedby={`${id}-name-help`}
          />
        </Field>
      )}
      <RoleField scope={scope} role={role} choose={setRole} wrong={wrongWith(putting.error, "role")} />
      <PatternsField text={models} write={setModels} wrong={wrongWith(putting.error, "models")} />
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}

export function RemoveMemberDialog({ scope, member, close }: Props & { member: Member }) {
  const [reason, setReason] = useState("");
  const removing = useMutation({
    mutationFn: () => removeMember(scope, member.member, reason),
    onSuccess: () => {
      notify("success", `${member.member} is a member of ${where(scope)} no more`);
      void askAgain(scope);
      close();
    },
  });
  return (
    <FormDialog
      title={`Remove ${member.member}?`}
      words="Remove"
      refused="It was not removed"
      isDangerous
      mutation={removing}
      submit={() => removing.mutate()}
      close={close}
    >
      <Content>
        What it may as {roleWords(member.role).toLowerCase()} in {where(scope)} ends at once, in the middle of a session
        too. API keys that it has made go on to work: revoke those by themselves.
      </Content>
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}
