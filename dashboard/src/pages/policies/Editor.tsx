/** A policy being written; it is the server's once it is saved, and holds at once. */

import { ActionGroup, Alert, Button, Form, Radio, TextInput } from "@patternfly/react-core";
import { useId, useState } from "react";
import { useNavigate } from "react-router";

import { ApiError } from "../../api/client";
import { useNamespaces } from "../../api/queries";
import { ErrorAlert } from "../../components/Failed";
import { Field, ReasonField } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { PickOne } from "../../components/Pick";
import { INSTALLATION, scopeInWords, useSavePolicy, type Policy, type SetPolicy } from "./data";
import { RulesForm } from "./RulesForm";
import { SelectorFields } from "./SelectorFields";
import { isEmpty, ruleProblems } from "./windows";

export interface Draft {
  namespace: string;
  name: string;
  body: SetPolicy;
  /** The version that it was made from; null: it is new. */
  version: number | null;
}

interface Props {
  draft: Draft;
  /** As it is on the server now; null: it is new. */
  policy: Policy | null;
  isEdited: boolean;
  edit: (draft: Draft) => void;
  leave: () => void;
  forbiddenIn: (namespace: string) => string | null;
}

const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export function Editor({ draft, policy, isEdited, edit, leave, forbiddenIn }: Props) {
  const id = useId();
  const navigate = useNavigate();
  const [reason, setReason] = useState("");
  // "Look at theirs" has the fields begin anew: some keep what is typed.
  const [round, again] = useState(0);
  const saving = useSavePolicy(draft.namespace);
  const { body } = draft;
  const become = (change: Partial<SetPolicy>) => {
    saving.reset();
    edit({ ...draft, body: { ...body, ...change } });
  };
  const error = saving.error;
  const isOvertaken = error instanceof ApiError && error.status === 412;
  const own = ruleProblems(body.rules);
  const errors = [...own, ...(error instanceof ApiError ? error.fields : [])];
  const isNamed = policy !== null || NAME.test(draft.name);
  const whole = isEmpty(body.rules) ? "Choose at least one rule." : "";
  const isRight = isNamed && own.length === 0 && !whole && forbiddenIn(draft.namespace) === null;
  const drop = () => {
    saving.reset();
    leave();
    again(round + 1);
  };
  const save = (version: number | null) =>
    saving.mutate(
      { name: draft.name, body: { ...body, reason }, version },
      {
        onSuccess: () => {
          notify("success", `Policy ${draft.name} is saved`, "It holds at once.");
          setReason("");
          leave();
          if (!policy) navigate(`/policies/${draft.namespace || INSTALLATION}/${draft.name}`, { replace: true });
        },
      },
    );
  return (
    <Form
      key={round}
      onSubmit={(event) => {
        event.preventDefault();
        if (isRight) save(draft.version);
      }}
    >
      {!policy && (
        <>
          <Scope
            id={`${id}-scope`}
            namespace={draft.namespace}
            pick={(namespace) => edit({ ...draft, namespace })}
            forbiddenIn={forbiddenIn}
          />
          <Field
            label="Name"
            id={`${id}-name`}
            isRequired
            help="Lower-case letters, digits and hyphens."
            wrong={draft.name && !isNamed ? "Lower-case letters, digits and hyphens, at most 63." : undefined}
          >
            <TextInput
              id={`${id}-name`}
              value={draft.name}
              placeholder="weekend"
              autoComplete="off"
              onChange={(_, name) => edit({ ...draft, name })}
            />
          </Field>
        </>
      )}
      <SelectorFields
        selector={body.selector ?? {}}
        onChange={(selector) => become({ selector })}
        byNamespace={draft.namespace === ""}
        errors={errors}
      />
      <RulesForm rules={body.rules} onChange={(rules) => become({ rules })} errors={errors} />
      <Field label="Mode" id={`${id}-mode`} role="radiogroup">
        <Radio
          id={`${id}-enforce`}
          name={`${id}-mode`}
          label="Enforce it"
          isChecked={body.mode !== "warn"}
          onChange={() => become({ mode: "enforce" })}
        />
        <Radio
          id={`${id}-warn`}
          name={`${id}-mode`}
          label="Only warn: everything passes, and is told"
          isChecked={body.mode === "warn"}
          onChange={() => become({ mode: "warn" })}
        />
      </Field>
      <Field label="Description" id={`${id}-description`}>
        <TextInput
          id={`${id}-description`}
          value={body.description ?? ""}
          onChange={(_, description) => become({ description })}
        />
      </Field>
      <ReasonField reason={reason} write={setReason} />
      {isOvertaken ? (
        <Alert
          variant="warning"
          isInline
          component="h3"
          role="alert"
          title="Somebody else has changed it meanwhile"
          actionLinks={
            <>
              <Button variant="link" isInline onClick={drop}>
                Look at theirs
              </Button>
              <Button variant="link" isInline isDisabled={!isRight} onClick={() => save(policy?.version ?? null)}>
                Save mine over it
              </Button>
            </>
          }
        >
          {policy ? `${policy.changed_by} saved it. Yours is not saved yet.` : "Yours is not saved yet."}
        </Alert>
      ) : (
        error && <ErrorAlert title="It was not saved" error={error} />
      )}
      {isEdited && whole && <p className="yard-quiet">{whole}</p>}
      <ActionGroup>
        <Button type="submit" isDisabled={!isRight || !isEdited || saving.isPending} isLoading={saving.isPending}>
          Save
        </Button>
        {policy && isEdited && (
          <Button variant="link" onClick={drop}>
            Undo my changes
          </Button>
        )}
      </ActionGroup>
    </Form>
  );
}

interface ScopeProps {
  id: string;
  namespace: string;
  pick: (namespace: string) => void;
  forbiddenIn: (namespace: string) => string | null;
}

function Scope({ id, namespace, pick, forbiddenIn }: ScopeProps) {
  const namespaces = useNamespaces().data ?? [];
  const scopes = ["", ...namespaces.map(({ name }) => name)];
  return (
    <Field label="Of" id={id} role="group" help="Policies of a namespace can only be stricter than the installation's.">
      <PickOne
        label="Of"
        value={namespace}
        onPick={pick}
        choices={scopes.map((value) => {
          const why = forbiddenIn(value);
          return {
            value,
            words: scopeInWords(value),
            ...(why === null ? {} : { description: why, isDisabled: true }),
          };
        })}
      />
    </Field>
  );
}
