/** What differs between two revisions, field by field, and what the change of each does. */

import { Label, Skeleton } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import type { Schemas } from "../../../api/client";
import type { FieldChange } from "../parts";

type Effect = Schemas["Effect"];

const EFFECTS: Record<Effect, { words: string; color: "grey" | "blue" | "orange" }> = {
  metadata: { words: "Nothing restarts", color: "grey" },
  features: { words: "Nothing restarts", color: "grey" },
  autoscaling: { words: "Instances come or go", color: "blue" },
  container: { words: "New instances", color: "orange" },
  rollout: { words: "New instances", color: "orange" },
};

/** Whether instances are replaced by any of them. */
export const replaces = (changes: FieldChange[]) =>
  changes.some(({ effect }) => effect === "container" || effect === "rollout");

export function DiffTable({ changes, label }: { changes: FieldChange[] | undefined; label: string }) {
  if (!changes) return <Skeleton height="6rem" screenreaderText="Comparing" />;
  if (changes.length === 0) return <p className="yard-quiet">Nothing differs between these two.</p>;
  return (
    <Table aria-label={label} variant="compact">
      <Thead>
        <Tr>
          <Th>Field</Th>
          <Th>Before</Th>
          <Th>After</Th>
          <Th>What it does</Th>
        </Tr>
      </Thead>
      <Tbody>
        {changes.map(({ path, before, after, effect }) => (
          <Tr key={path}>
            <Td dataLabel="Field" modifier="breakWord">
              <code>{path}</code>
            </Td>
            <Td dataLabel="Before" modifier="breakWord">
              <Value value={before} />
            </Td>
            <Td dataLabel="After" modifier="breakWord">
              <Value value={after} />
            </Td>
            <Td dataLabel="What it does" modifier="fitContent">
              <Label color={EFFECTS[effect].color} isCompact>
                {EFFECTS[effect].words}
              </Label>
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function Value({ value }: { value: unknown }) {
  if (value === null || value === undefined || value === "") return <span className="yard-quiet">not set</span>;
  return <code>{typeof value === "string" ? value : JSON.stringify(value)}</code>;
}
