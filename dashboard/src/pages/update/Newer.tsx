/** The model's source has come to mean another version: whether to take it up. */

import { Alert, Checkbox } from "@patternfly/react-core";

import type { Model } from "../../api/queries";

interface Props {
  model: Model;
  isTaken: boolean;
  take: (isTaken: boolean) => void;
}

export function Newer({ model, isTaken, take }: Props) {
  const { artifact } = model.status;
  if (!artifact?.newer) return null;
  return (
    <Alert
      variant="info"
      isInline
      component="p"
      title={`${model.spec.source ?? ""} means version ${artifact.newer} now; it serves ${artifact.version}`}
    >
      <Checkbox
        id="update-newer"
        label={`Take up version ${artifact.newer}`}
        isChecked={isTaken}
        onChange={(_, on) => take(on)}
      />
    </Alert>
  );
}
