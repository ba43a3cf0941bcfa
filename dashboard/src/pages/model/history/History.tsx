/** What has happened to a model and who asked for it, on one line of time. */

import {
  Button,
  EmptyState,
  EmptyStateBody,
  EmptyStateFooter,
  Label,
  Skeleton,
  Toolbar,
  ToolbarContent,
  ToolbarFilter,
  ToolbarGroup,
  ToolbarItem,
} from "@patternfly/react-core";
import { SearchIcon } from "@patternfly/react-icons";
import { ExpandableRowContent, Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMemo, useState } from "react";
import { stringify } from "yaml";

import type { Model } from "../../../api/queries";
import { useMay } from "../../../app/permissions";
import { Ago } from "../../../components/Ago";
import { ErrorAlert } from "../../../components/Failed";
import { PickSeveral } from "../../../components/Pick";
import { useModelAudit, useModelEvents } from "../parts";
import { isOfModel, merged, ofAudit, ofEvent, type Entry, type Kind } from "./timeline";

const KINDS: Record<Kind, { words: string; color: "blue" | "red" | "grey" }> = {
  event: { words: "Event", color: "blue" },
  failure: { words: "Failure", color: "red" },
  audit: { words: "Audit", color: "grey" },
};

export default function History({ model }: { model: Model }) {
  const mayAudit = useMay()("administer", model.namespace);
  const events = useModelEvents(model);
  const audit = useModelAudit(model, mayAudit);
  const [kinds, pickKinds] = useState<string[]>([]);
  const [actors, pickActors] = useState<string[]>([]);
  const all = useMemo(
    () =>
      merged([
        {
          entries: (events.data?.pages ?? []).flatMap((page) => page.items).map(ofEvent),
          hasMore: events.hasNextPage,
        },
        {
          entries: (audit.data?.pages ?? [])
            .flatMap((page) => page.items)
            .filter(isOfModel)
            .map(ofAudit),
          hasMore: audit.hasNextPage,
        },
      ]),
    [events.data, events.hasNextPage, audit.data, audit.hasNextPage],
  );
  const shown = all.filter(
    (entry) =>
      (kinds.length === 0 || kinds.includes(entry.kind)) && (actors.length === 0 || actors.includes(entry.actor)),
  );
  const known = [...new Set(all.map(({ actor }) => actor))].sort();
  const clear = () => {
    pickKinds([]);
    pickActors([]);
  };
  const more = () => {
    if (events.hasNextPage) void events.fetchNextPage();
    if (audit.hasNextPage) void audit.fetchNextPage();
  };

  return (
    <>
      <Toolbar clearAllFilters={clear} clearFiltersButtonText="Clear filters">
        <ToolbarContent>
          <ToolbarGroup variant="filter-group">
            <ToolbarFilter
              categoryName="Kind"
              labels={kinds.map((kind) => ({ key: kind, node: KINDS[kind as Kind].words }))}
              deleteLabel={(_, label) => pickKinds(kinds.filter((kind) => kind !== keyOf(label)))}
              deleteLabelGroup={() => pickKinds([])}
            >
              <PickSeveral
                label="Kind"
                values={kinds}
                onPick={pickKinds}
                choices={(mayAudit ? (["event", "failure", "audit"] as const) : (["event", "failure"] as const)).map(
                  (value) => ({ value, words: KINDS[value].words }),
                )}
              />
            </ToolbarFilter>
            <ToolbarFilter
              categoryName="Actor"
              labels={actors}
              deleteLabel={(_, label) => pickActors(actors.filter((actor) => actor !== keyOf(label)))}
              deleteLabelGroup={() => pickActors([])}
            >
              <PickSeveral
                label="Actor"
                values={actors}
                onPick={pickActors}
                choices={known.map((value) => ({ value, words: value }))}
              />
            </ToolbarFilter>
          </ToolbarGroup>
          {!mayAudit && (
            <ToolbarItem alignSelf="center">
              <span className="yard-quiet">The audit record is for administrators of {model.namespace}.</span>
            </ToolbarItem>
          )}
        </ToolbarContent>
      </Toolbar>
      {events.error && <ErrorAlert title="The events could not be read" error={events.error} />}
      {audit.error && <ErrorAlert title="The audit record could not be read" error={audit.error} />}
      {events.isPending || (mayAudit && audit.isPending) ? (
        <Skeleton height="20rem" screenreaderText="Loading events" />
      ) : shown.length === 0 ? (
        <EmptyState icon={SearchIcon} titleText="Nothing of this kind" headingLevel="h2" variant="sm">
          <EmptyStateBody>Nothing that is loaded is of this kind and by these actors.</EmptyStateBody>
          <EmptyStateFooter>
            <Button variant="link" onClick={clear}>
              Clear filters
            </Button>
          </EmptyStateFooter>
        </EmptyState>
      ) : (
        <Rows entries={shown} />
      )}
      {(events.hasNextPage || audit.hasNextPage) && (
        <Button
          variant="link"
          onClick={more}
          isLoading={events.isFetchingNextPage || audit.isFetchingNextPage}
          isInline
        >
          Show earlier ones
        </Button>
      )}
    </>
  );
}

const keyOf = (label: string | { key: string }) => (typeof label === "string" ? label : label.key);

function Rows({ entries }: { entries: Entry[] }) {
  const [open, become] = useState<ReadonlySet<string>>(new Set());
  const toggle = (key: string) => {
    const next = new Set(open);
    if (!next.delete(key)) next.add(key);
    become(next);
  };
  return (
    <Table aria-label="Events and audit" variant="compact">
      <Thead>
        <Tr>
          <Th screenReaderText="Details" />
          <Th width={15}>When</Th>
          <Th width={10}>Kind</Th>
          <Th>What</Th>
          <Th width={20}>Who</Th>
        </Tr>
      </Thead>
      {entries.map((entry, index) => {
        const has = Object.keys(entry.details).length > 0;
        const isOpen = has && open.has(entry.key);
        return (
          <Tbody key={entry.key} isExpanded={isOpen}>
            <Tr>
              <Td
                {...(has
                  ? {
                      expand: {
                        rowIndex: index,
                        isExpanded: isOpen,
                        expandId: `details-${entry.key}`,
                        onToggle: () => toggle(entry.key),
                      },
                    }
                  : {})}
              />
              <Td dataLabel="When">
                <Ago at={entry.at} />
              </Td>
              <Td dataLabel="Kind">
                <Label
                  color={KINDS[entry.kind].color}
                  isCompact
                  variant={entry.kind === "audit" ? "outline" : "filled"}
                >
                  {KINDS[entry.kind].words}
                </Label>
              </Td>
              <Td dataLabel="What" modifier="breakWord">
                <strong>{entry.title}</strong> {entry.message}
                {entry.reason && <span className="yard-quiet"> {entry.reason}</span>}
              </Td>
              <Td dataLabel="Who">{entry.actor}</Td>
            </Tr>
            {isOpen && (
              <Tr isExpanded>
                <Td />
                <Td colSpan={4}>
                  <ExpandableRowContent>
                    <pre className="yard-details">{stringify(entry.details)}</pre>
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
