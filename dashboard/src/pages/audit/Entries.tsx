/** Entries as rows; one that is opened shows its change, and from where it came. */

import { Label } from "@patternfly/react-core";
import { ExpandableRowContent, Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useState } from "react";

import { Ago } from "../../components/Ago";
import type { Entry } from "./calls";
import { EntryDetails } from "./EntryDetails";

const OUTCOMES = {
  refused: { words: "Refused", status: "warning" },
  failed: { words: "Failed", status: "danger" },
} as const;

export function Entries({ entries }: { entries: Entry[] }) {
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  const toggle = (number: number) => {
    const next = new Set(open);
    if (!next.delete(number)) next.add(number);
    setOpen(next);
  };
  return (
    <Table aria-label="The record" variant="compact" isExpandable isStickyHeader>
      <Thead>
        <Tr>
          <Th screenReaderText="Open" />
          <Th modifier="nowrap">When</Th>
          <Th>Who</Th>
          <Th>What</Th>
          <Th>Target</Th>
          <Th>Outcome</Th>
          <Th width={30}>Reason</Th>
        </Tr>
      </Thead>
      {entries.map((entry, index) => {
        const isOpen = open.has(entry.number);
        return (
          <Tbody key={entry.number} isExpanded={isOpen}>
            <Tr>
              <Td
                expand={{
                  rowIndex: index,
                  isExpanded: isOpen,
                  onToggle: () => toggle(entry.number),
                  expandId: "entry",
                }}
              />
              <Td dataLabel="When" modifier="nowrap" className="yard-number">
                <Ago at={entry.at} />
              </Td>
              <Td dataLabel="Who" modifier="breakWord">
                {entry.actor || <span className="yard-quiet">nobody known</span>}
              </Td>
              <Td dataLabel="What">
                <code>{entry.action}</code>
              </Td>
              <Td dataLabel="Target" modifier="breakWord">
                {entry.name}
                {entry.namespace && <div className="yard-quiet">{entry.namespace}</div>}
              </Td>
              <Td dataLabel="Outcome" modifier="nowrap">
                {entry.outcome === "done" ? (
                  "Done"
                ) : (
                  <Label status={OUTCOMES[entry.outcome].status} isCompact>
                    {OUTCOMES[entry.outcome].words}
                  </Label>
                )}
              </Td>
              <Td dataLabel="Reason" modifier="breakWord">
                {entry.reason}
                {entry.code && (
                  <div className="yard-quiet">
                    <code>{entry.code}</code>
                  </div>
                )}
              </Td>
            </Tr>
            {isOpen && (
              <Tr isExpanded>
                <Td />
                <Td colSpan={6}>
                  <ExpandableRowContent>
                    <EntryDetails entry={entry} />
                  </ExpandableRowContent>
                </Td>
              </Tr>
            )}
          </Tbody>
        );
      })}
    </Table>
  );
}
