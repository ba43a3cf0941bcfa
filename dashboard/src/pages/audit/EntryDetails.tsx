/** One entry whole: each field that changed before and after, what was asked for, and from where. */

import {
  CodeBlock,
  CodeBlockCode,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
} from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import type { Entry } from "./calls";
import { changesOf, restOf, words, type Change } from "./change";

export function EntryDetails({ entry }: { entry: Entry }) {
  const changes = changesOf(entry.change);
  const rest = restOf(entry.change);
  const facts: [string, string][] = [
    ["Entry", String(entry.number)],
    ["At", new Date(entry.at).toLocaleString()],
    ["Actor", `${entry.actor || "nobody known"} (${entry.actor_kind})`],
    ["From", entry.address],
    ["Program", entry.client],
    ["Request", entry.request],
    ["Hash", entry.hash],
  ];
  return (
    <div className="yard-bars">
      {changes.length > 0 && <Diff changes={changes} />}
      {rest && (
        <CodeBlock>
          <CodeBlockCode>{rest}</CodeBlockCode>
        </CodeBlock>
      )}
      <DescriptionList isHorizontal isCompact columnModifier={{ default: "1Col", xl: "2Col" }} aria-label="The entry">
        {facts
          .filter(([, text]) => text)
          .map(([term, text]) => (
            <DescriptionListGroup key={term}>
              <DescriptionListTerm>{term}</DescriptionListTerm>
              <DescriptionListDescription className="yard-break">{text}</DescriptionListDescription>
            </DescriptionListGroup>
          ))}
      </DescriptionList>
    </div>
  );
}

function Diff({ changes }: { changes: Change[] }) {
  return (
    <Table aria-label="What changed" variant="compact" borders={false}>
      <Thead>
        <Tr>
          <Th>Field</Th>
          <Th width={40}>Before</Th>
          <Th width={40}>After</Th>
        </Tr>
      </Thead>
      <Tbody>
        {changes.map(({ path, before, after }) => (
          <Tr key={path}>
            <Td dataLabel="Field">
              <code>{path}</code>
            </Td>
            <Td dataLabel="Before" modifier="breakWord">
              {before === null ? <span className="yard-quiet">nothing</span> : <del>{words(before)}</del>}
            </Td>
            <Td dataLabel="After" modifier="breakWord">
              {after === null ? <span className="yard-quiet">nothing</span> : <ins>{words(after)}</ins>}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
