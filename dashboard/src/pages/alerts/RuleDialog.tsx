/** Add a rule, or edit one; what is usual for its kind is there already. */

import {
  Alert as Message,
  Checkbox,
  InputGroup,
  InputGroupItem,
  InputGroupText,
  Split,
  SplitItem,
  TextInput,
} from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import { ApiError } from "../../api/client";
import { Field, FormDialog, wrongWith } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { PickOne } from "../../components/Pick";
import { askRulesAgain, putRule, type AlertKind, type AlertRule, type Severity } from "./calls";
import { KIND_CHOICES, KINDS, SEVERITIES, severityWords } from "./kinds";
import { bodyOfDraft, draftOf, usual, wrongIn, type Draft } from "./rules";

const UNIT = { share: "%", seconds: "seconds", count: "" };

interface Props {
  scope: string;
  rule: AlertRule | null;
  close: () => void;
}

export function RuleDialog({ scope, rule, close }: Props) {
  const [draft, setDraft] = useState<Draft>(() => (rule ? draftOf(rule) : usual("error_rate")));
  const id = useId();
  const setting = useMutation({
    mutationFn: () => putRule(scope, draft.name, bodyOfDraft(draft, rule), rule?.version),
    onSuccess: () => {
      notify("success", `The rule ${draft.name} is set`);
      void askRulesAgain(scope);
      close();
    },
  });
  const wrong = wrongIn(draft);
  const said = (field: keyof Draft) => wrong[field] ?? wrongWith(setting.error, field);
  const write = (field: keyof Draft) => (_: unknown, value: string) => setDraft({ ...draft, [field]: value });
  const { number, window, about } = KINDS[draft.kind];
  const isStale = setting.error instanceof ApiError && setting.error.status === 412;

  const text = (field: "name" | "names" | "namespaces" | "labels" | "description" | "window" | "lasting" | "keep") => ({
    id: `${id}-${field}`,
    value: draft[field],
    onChange: write(field),
    validated: said(field) ? ("error" as const) : ("default" as const),
    autoComplete: "off",
  });

  return (
    <FormDialog
      title={rule ? `Edit ${rule.name}` : "Add a rule"}
      description={rule?.built_in ? "Your own of this name takes the place of the built-in one." : undefined}
      words="Save"
      refused="It was not set"
      mutation={setting}
      submit={() => setting.mutate()}
      close={close}
      isDisabled={!draft.name || Object.keys(wrong).length > 0}
      variant="medium"
    >
      {isStale && (
        <Message variant="warning" isInline component="p" title="Somebody else has changed this rule meanwhile">
          Close this and open it again to see how it is now.
        </Message>
      )}
      {!rule && (
        <Field label="Name" id={`${id}-name`} isRequired wrong={said("name")}>
          <TextInput {...text("name")} placeholder="errors" />
        </Field>
      )}
      <Field label="Watch for" id={`${id}-kind`} role="group" help={about}>
        <PickOne
          label="Watch for"
          value={draft.kind}
          onPick={(kind) => setDraft(usual(kind as AlertKind, draft))}
          choices={KIND_CHOICES}
          isFullWidth
        />
      </Field>
      <Split hasGutter>
        <SplitItem isFilled>
          <Field label="Fires from" id={`${id}-threshold`} wrong={said("threshold")}>
            <InputGroup>
              <InputGroupItem isFill>
                <TextInput
                  id={`${id}-threshold`}
                  inputMode="decimal"
                  value={draft.threshold}
                  onChange={write("threshold")}
                  validated={said("threshold") ? "error" : "default"}
                />
              </InputGroupItem>
              {UNIT[number] && <InputGroupText>{UNIT[number]}</InputGroupText>}
            </InputGroup>
          </Field>
        </SplitItem>
        {window !== undefined && (
          <SplitItem isFilled>
            <Field label="Within" id={`${id}-window`} wrong={said("window")}>
              <TextInput {...text("window")} />
            </Field>
          </SplitItem>
        )}
        <SplitItem isFilled>
          <Field label="For at least" id={`${id}-lasting`} wrong={said("lasting")}>
            <TextInput {...text("lasting")} />
          </Field>
        </SplitItem>
        <SplitItem isFilled>
          <Field label="Over after" id={`${id}-keep`} wrong={said("keep")}>
            <TextInput {...text("keep")} />
          </Field>
        </SplitItem>
      </Split>
      {draft.kind === "latency" && (
        <Field label="Quantile" id={`${id}-quantile`} wrong={said("quantile")}>
          <InputGroup>
            <InputGroupItem isFill>
              <TextInput
                id={`${id}-quantile`}
                inputMode="decimal"
                value={draft.quantile}
                onChange={write("quantile")}
              />
            </InputGroupItem>
            <InputGroupText>%</InputGroupText>
          </InputGroup>
        </Field>
      )}
      <Field label="Severity" id={`${id}-severity`} role="group" wrong={said("severity")}>
        <PickOne
          label="Severity"
          value={draft.severity}
          onPick={(severity) => setDraft({ ...draft, severity: severity as Severity })}
          choices={SEVERITIES.map((severity) => ({ value: severity, words: severityWords(severity) }))}
        />
      </Field>
      {!scope && (
        <Field label="Namespaces" id={`${id}-namespaces`} wrong={said("namespaces")} help="Left empty: all.">
          <TextInput {...text("namespaces")} placeholder="vision, speech" />
        </Field>
      )}
      <Field label="Models" id={`${id}-names`} wrong={said("names")} help="Names with * and ?. Left empty: all.">
        <TextInput {...text("names")} placeholder="wine-*" />
      </Field>
      <Field label="Labels" id={`${id}-labels`} wrong={said("labels")} help="All must match. Left empty: any.">
        <TextInput {...text("labels")} placeholder="tier=live" />
      </Field>
      <Field label="Description" id={`${id}-description`} wrong={said("description")}>
        <TextInput {...text("description")} />
      </Field>
      <Checkbox
        id={`${id}-enabled`}
        label="It is watched for"
        isChecked={draft.enabled}
        onChange={(_, enabled) => setDraft({ ...draft, enabled })}
      />
    </FormDialog>
  );
}
