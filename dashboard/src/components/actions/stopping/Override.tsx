/** What protects a model from being stopped, and the word with which one does it nevertheless. */

import { Alert, Checkbox } from "@patternfly/react-core";

import type { Protection } from "./protection";

interface Props {
  id: string;
  protections: Protection[];
  isOverriding: boolean;
  override: (is: boolean) => void;
}

export function Override({ id, protections, isOverriding, override }: Props) {
  const why = protections.find((one) => one.why !== null)?.why ?? null;
  return (
    <Alert variant="warning" isInline component="p" title="A policy protects this model">
      <p>{protections.map(({ policy, scope }) => `${policy}, of ${scope}`).join("; ")}.</p>
      {why ? (
        <p>{why}</p>
      ) : (
        <Checkbox
          id={`${id}-override`}
          label="Stop it nevertheless; the reason below goes on record"
          isChecked={isOverriding}
          onChange={(_, checked) => override(checked)}
        />
      )}
    </Alert>
  );
}
