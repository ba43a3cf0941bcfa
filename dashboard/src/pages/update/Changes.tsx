/** What changes, and what each of it does to the instances. */

import { Label, Skeleton } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import type { Schemas } from "../../api/client";

type Change = Schemas["FieldChange"];

const EFFECTS: Record<Schemas["Effect"], { words: string; color: "grey" | "blue" | "orange" }> = {
  metadata: { words: "At once", color: "grey" },
  features: { words: "At once", color: "grey" },
  autoscaling: { words: "Instances come or go", color: "blue" },
  container: { words: "Restarts instances", color: "orange" },
  rollout: { words: "New instances", color: "orange" },
};

export function valueWords(value: unknown): string {
  if (value === null || value === undefined) return "–";
  return typeof value === "string" && value !== "" ? value : JSON.stringify(value);
}

export function Changes({ changes }: { changes: Change[] | undefined }) {
  if (!changes) return <Skeleton height="6rem" screenreaderText="Asking what changes" />;
  return (
    <Table aria-label="What changes" variant="compact">
      <Thead>
        <Tr>
          <Th>Field</Th>
          <Th>Before</Th>
          <Th>After</Th>
          <Th>Effect</Th>
        </Tr>
      </Thead>
      <Tbody>
        {changes.map(({ path, before, after, effect }) => (
          <Tr key={path}>
            <Td dataLabel="Field">
              <code>{path}</code>
            </Td>
            <Td dataLabel="Before" modifier="breakWord">
              {valueWords(before)}
            </Td>
            <Td dataLabel="After" modifier="breakWord">
              {valueWords(after)}
            </Td>
            <Td dataLabel="Effect" modifier="fitContent">
              <Label isCompact color={EFFECTS[effect].color}>
                {EFFECTS[effect].words}
              </Label>
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
