/** Roles, each with what it adds to the one before, and for which models one is. */

import { Label, LabelGroup, TextInput } from "@patternfly/react-core";
import { useId } from "react";

import { Field } from "../../components/FormDialog";
import { PickOne } from "../../components/Pick";
import type { Role } from "./calls";

const ROLES: { role: Role; words: string; adds: string }[] = [
  { role: "viewer", words: "Viewer", adds: "Sees models, versions, events and logs." },
  { role: "user", words: "User", adds: "Calls models, too." },
  { role: "operator", words: "Operator", adds: "Starts, stops, scales and schedules them, too." },
  { role: "editor", words: "Editor", adds: "Deploys, changes and deletes them, too, and publishes versions." },
  { role: "administrator", words: "Administrator", adds: "Sees to members, keys, policies and alerts, too." },
];
const OVER_ALL = "Everything: also namespaces, quotas, settings and the whole record.";

export const roleWords = (role: Role) => ROLES.find((one) => one.role === role)?.words ?? role;

export function RoleField({
  scope,
  role,
  choose,
  wrong,
}: {
  scope: string;
  role: Role;
  choose: (role: Role) => void;
  wrong?: string | undefined;
}) {
  const id = useId();
  return (
    <Field label="Role" id={id} wrong={wrong} role="group">
      <PickOne
        label="Role"
        value={role}
        onPick={(value) => choose(value as Role)}
        isFullWidth
        choices={ROLES.map(({ role: value, words, adds }) => ({
          value,
          words,
          description: value === "administrator" && !scope ? OVER_ALL : adds,
        }))}
      />
    </Field>
  );
}

export function PatternsField({
  text,
  write,
  wrong,
}: {
  text: string;
  write: (text: string) => void;
  wrong?: string | undefined;
}) {
  const id = useId();
  return (
    <Field
      label="Models"
      id={id}
      wrong={wrong}
      help="Names with * and ?, and commas between them. Left empty: all models, also those that come."
    >
      <TextInput
        id={id}
        value={text}
        onChange={(_, value) => write(value)}
        placeholder="digits, wine-*"
        validated={wrong ? "error" : "default"}
        autoComplete="off"
      />
    </Field>
  );
}

/** "a, b" as ["a", "b"]. */
export const parts = (text: string) =>
  text
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);

export function Patterns({ models }: { models: string[] }) {
  if (models.length === 0) return <span className="yard-quiet">all</span>;
  return (
    <LabelGroup numLabels={3}>
      {models.map((pattern) => (
        <Label key={pattern} isCompact variant="outline">
          {pattern}
        </Label>
      ))}
    </LabelGroup>
  );
}
