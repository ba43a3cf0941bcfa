/** The table of models. A row is drawn anew only when its model has changed. */

import { ClipboardCopyButton, Content } from "@patternfly/react-core";
import { InnerScrollContainer, Table, Tbody, Td, Th, Thead, Tr, type ThProps } from "@patternfly/react-table";
import { many } from "../../components/quantities";
import { memo, useMemo, useState } from "react";
import { Link } from "react-router";

import type { Model } from "../../api/queries";
import { useTimetables, type NextAction } from "../../api/schedules";
import { Ago } from "../../components/Ago";
import { ModelActions } from "../../components/actions/ModelActions";
import { StateLabel } from "../../components/StateLabel";
import type { Column, View } from "./filters";

interface Props {
  models: Model[];
  view: View;
  change: (change: Partial<View>) => void;
  selected: ReadonlySet<string>;
  select: (uids: ReadonlySet<string>) => void;
}

export function ModelTable({ models, view, change, selected, select }: Props) {
  const sort = (column: Column): { sort: NonNullable<ThProps["sort"]> } => ({
    sort: {
      columnIndex: 0,
      sortBy: view.sort === column ? { index: 0, direction: view.descending ? "desc" : "asc" } : {},
      onSort: (_, __, direction) => change({ sort: column, descending: direction === "desc" }),
    },
  });
  const all = models.length > 0 && models.every((model) => selected.has(model.uid));
  const toggleAll = (on: boolean) => {
    const next = new Set(selected);
    models.forEach((model) => (on ? next.add(model.uid) : next.delete(model.uid)));
    select(next);
  };
  const timetables = useTimetables().data;
  const coming = useMemo(
    () => new Map(timetables?.map((one) => [`${one.namespace}/${one.name}`, one.next_action])),
    [timetables],
  );
  return (
    <InnerScrollContainer>
      <Table aria-label="Models" variant="compact" isStickyHeader>
        <Thead>
          <Tr>
            <Th select={{ isSelected: all, onSelect: (_, on) => toggleAll(on) }} />
            <Th {...sort("name")} modifier="nowrap">
              Name
            </Th>
            <Th {...sort("state")}>State</Th>
            <Th {...sort("source")} modifier="nowrap">
              Version
            </Th>
            <Th {...sort("instances")} modifier="nowrap">
              Instances
            </Th>
            <Th modifier="nowrap">Endpoint</Th>
            <Th modifier="nowrap">Next action</Th>
            <Th visibility={WIDE}>Owner</Th>
            <Th {...sort("changed")} modifier="nowrap">
              Last change
            </Th>
            <Th screenReaderText="Actions" />
          </Tr>
        </Thead>
        <Tbody>
          {models.map((model, index) => (
            <Row
              key={model.uid}
              model={model}
              index={index}
              next={coming.get(`${model.namespace}/${model.name}`) ?? null}
              isSelected={selected.has(model.uid)}
              onSelect={(on) => {
                const next = new Set(selected);
                if (on) next.add(model.uid);
                else next.delete(model.uid);
                select(next);
              }}
            />
          ))}
        </Tbody>
      </Table>
    </InnerScrollContainer>
  );
}

// Only where there is room for it beside what one acts on.
const WIDE: ("hidden" | "visibleOn2Xl")[] = ["hidden", "visibleOn2Xl"];

interface RowProps {
  model: Model;
  index: number;
  next: NextAction | null;
  isSelected: boolean;
  onSelect: (on: boolean) => void;
}

const Row = memo(
  function Row({ model, index, next, isSelected, onSelect }: RowProps) {
    const { status, spec } = model;
    const gpus = status.resource_allocation.gpus;
    return (
      <Tr>
        <Td select={{ rowIndex: index, isSelected, onSelect: (_, on) => onSelect(on) }} />
        <Td dataLabel="Name">
          <Link to={`/models/${model.namespace}/${model.name}`}>{model.name}</Link>
          <div className="yard-quiet">{model.namespace}</div>
        </Td>
        <Td dataLabel="State">
          <StateLabel state={status.state} />
          {status.state !== "running" && status.message && (
            <Content component="small" className="yard-message">
              {status.message}
            </Content>
          )}
        </Td>
        <Td dataLabel="Version">
          {/* Of a long path the end says most. */}
          <bdi className="yard-source" title={sourceOf(model)}>
            {sourceOf(model)}
          </bdi>
          <div className="yard-quiet">
            {spec.engine} on {spec.backend}
          </div>
        </Td>
        <Td dataLabel="Instances" className="yard-number">
          {status.instances_ready}/{status.instances_desired}
          {gpus > 0 && <div className="yard-quiet">{many(gpus, "GPU")}</div>}
        </Td>
        <Td dataLabel="Endpoint">
          {status.endpoints.infer ? <CopyEndpoint name={model.name} path={status.endpoints.infer} /> : "–"}
        </Td>
        <Td dataLabel="Next action">{next ? <Next next={next} /> : "–"}</Td>
        <Td dataLabel="Owner" visibility={WIDE}>
          {spec.labels?.owner ?? "–"}
        </Td>
        <Td dataLabel="Last change">
          <Ago at={status.last_transition.at} />
          <div className="yard-quiet">by {status.last_transition.actor}</div>
        </Td>
        <Td isActionCell>
          <ModelActions model={model} />
        </Td>
      </Tr>
    );
  },
  (before, after) =>
    before.model === after.model &&
    before.next === after.next &&
    before.isSelected === after.isSelected &&
    before.index === after.index,
);

function Next({ next }: { next: NextAction }) {
  return (
    <>
      <Ago at={next.at} />
      <div className="yard-quiet">{next.action === "start" ? "starts" : "stops"}</div>
    </>
  );
}

/** The address is long and alike in every row: what one wants of it is to have it. */
function CopyEndpoint({ name, path }: { name: string; path: string }) {
  const [copied, setCopied] = useState(false);
  const url = `${window.location.origin}${path}`;
  return (
    <ClipboardCopyButton
      id={`endpoint-${name}-copy`}
      textId={`endpoint-${name}`}
      variant="plain"
      aria-label={`Copy the address of ${name}`}
      onClick={() => void navigator.clipboard.writeText(url).then(() => setCopied(true))}
      onTooltipHidden={() => setCopied(false)}
    >
      {copied ? "Copied" : url}
    </ClipboardCopyButton>
  );
}

/** What is served: the registered version where there is one, else the source, else the engine alone. */
export function sourceOf({ spec, status }: Model): string {
  const name = spec.source?.split("@")[0];
  if (status.artifact && name) return `${name}@${status.artifact.version}`;
  return spec.source ?? spec.engine ?? "";
}
