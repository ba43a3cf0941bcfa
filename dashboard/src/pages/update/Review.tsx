/** What changes with what effect, how instances are replaced, and the word that this is fine. */

import { Alert, Checkbox, FormGroup, FormSection, TextInput } from "@patternfly/react-core";

import type { ReactNode } from "react";

import type { Model } from "../../api/queries";
import { ErrorAlert } from "../../components/Failed";
import { many } from "../../components/quantities";
import { ChoiceField } from "../../components/spec/Fields";
import type { Problem, Tree } from "../../components/spec/draft";
import type { Forecast } from "../../components/spec/Fit";
import { SameAs } from "../../components/spec/SameAs";
import { curl, updateCommand } from "../../components/spec/shell";
import { ToMend } from "../../components/spec/ToMend";
import { Changes } from "./Changes";
import { isEmpty } from "./order";

export interface Word {
  acknowledged: boolean;
  reason: string;
}

interface Props {
  model: Model;
  patch: Tree;
  forecast: Forecast | undefined;
  fit: ReactNode;
  problems: Problem[];
  error: unknown;
  word: Word;
  give: (word: Partial<Word>) => void;
}

export function Review({ model, patch, forecast, fit, problems, error, word, give }: Props) {
  if (isEmpty(patch) || forecast?.changes.length === 0) {
    return <p>Nothing is changed yet. Change something at one of the other steps, or in the YAML.</p>;
  }
  return (
    <>
      {error !== null && <ErrorAlert title="It was not updated" error={error} />}
      <ToMend problems={problems} />
      {forecast?.warnings.map((warning) => (
        <Alert key={warning} variant="warning" isInline title={warning} component="p" />
      ))}
      {problems.length === 0 && <Changes changes={forecast?.changes} />}
      {forecast && <Restarts model={model} forecast={forecast} />}
      {forecast && forecast.count > 0 && fit}
      {forecast?.needs_acknowledgement && (
        <Checkbox
          id="update-acknowledge"
          label={`I know that ${model.name} gets new instances by this`}
          isRequired
          isChecked={word.acknowledged}
          onChange={(_, acknowledged) => give({ acknowledged })}
        />
      )}
      <FormGroup label="Reason" fieldId="update-reason">
        <TextInput
          id="update-reason"
          value={word.reason}
          onChange={(_, reason) => give({ reason })}
          placeholder="On record for everyone who asks why"
        />
      </FormGroup>
      <FormSection title="The same as text" titleElement="h3">
        <SameAs label="The same as text" ways={waysOf(model, patch, word, forecast)} />
      </FormSection>
    </>
  );
}

const ORDERS: Record<NonNullable<Forecast["strategy"]>, string> = {
  auto: "By what fits.",
  surge: "New instances serve before old ones end: nobody is kept waiting.",
  replace: "Old instances end before new ones start: calls wait or fail meanwhile where there is one only.",
};

function Restarts({ model, forecast }: { model: Model; forecast: Forecast }) {
  const live = model.status.instances.length;
  const replaces = forecast.changes.some(({ effect }) => effect === "container" || effect === "rollout");
  if (!replaces) return <Alert variant="success" isInline isPlain title="No instance is restarted." component="p" />;
  if (live === 0) {
    return <Alert variant="info" isInline isPlain title="It has no instances now: it starts so." component="p" />;
  }
  return (
    <>
      <Alert variant="warning" isInline title={`${many(live, "instance")} will be replaced`} component="p">
        {forecast.strategy && ORDERS[forecast.strategy]}
      </Alert>
      <ChoiceField
        path="rollout.strategy"
        label="Order"
        usual="auto"
        choices={[
          { value: "auto", words: "By what fits" },
          { value: "surge", words: "New before old", description: "Needs room for one more" },
          { value: "replace", words: "Old before new", description: "Needs no more room" },
        ]}
      />
    </>
  );
}

function waysOf(model: Model, patch: Tree, { acknowledged, reason }: Word, forecast: Forecast | undefined) {
  const { namespace, name } = model;
  const acknowledge = acknowledged || (forecast?.needs_acknowledgement ?? false);
  const body = {
    spec: patch,
    ...(acknowledge ? { acknowledge_restart: true } : {}),
    ...(reason ? { reason } : {}),
  };
  return [
    { words: "Command", text: updateCommand({ namespace, name }, patch, acknowledge) },
    {
      words: "API",
      text: curl({
        method: "PATCH",
        path: `/api/v1/namespaces/${namespace}/models/${name}`,
        body,
        ifMatch: model.version,
      }),
    },
  ];
}
