/** The instances of a model: what each is doing, holds and answers now; its log, and its end. */

import { Button, EmptyState, EmptyStateBody, Label, Tooltip, type LabelProps } from "@patternfly/react-core";
import { ServerIcon } from "@patternfly/react-icons";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useState } from "react";
import { Link } from "react-router";

import type { Schemas } from "../../../api/client";
import { useInFlight } from "../../../api/inFlight";
import { useCapacity, type Model } from "../../../api/queries";
import { Ago } from "../../../components/Ago";
import { useRefusal } from "../../../components/actions/lifecycle";
import { bytes } from "../../../components/quantities";
import { TerminateDialog } from "./TerminateDialog";

type Instance = Schemas["Instance"];

const PHASES: Record<string, { words: string; color: NonNullable<LabelProps["color"]> }> = {
  starting: { words: "Starting", color: "blue" },
  ready: { words: "Ready", color: "green" },
  terminating: { words: "Ending", color: "grey" },
};

const EMPTY: Partial<Record<Schemas["State"], string>> = {
  stopped: "It is stopped and holds nothing. Start it, and its instances are here.",
  idle: "It is idle and holds nothing: the next request starts it.",
  queued: "It waits for capacity. Its instances are launched as soon as they fit.",
  error: "It failed to start. The reason is in its conditions, and the last lines are in its logs.",
};

export default function Instances({ model }: { model: Model }) {
  const { instances, serving_generation: serving, state } = model.status;
  const [ending, end] = useState<Instance | null>(null);
  const now = useInFlight(model, { isOn: instances.length > 0 });
  const names = useDeviceNames();
  const why = useRefusal()(model, "terminate");

  if (instances.length === 0) {
    return (
      <EmptyState icon={ServerIcon} titleText="No instance now" headingLevel="h2">
        <EmptyStateBody>{EMPTY[state] ?? "They come as soon as they are launched."}</EmptyStateBody>
      </EmptyState>
    );
  }
  return (
    <>
      <Table aria-label="Instances" variant="compact" gridBreakPoint="grid-lg">
        <Thead>
          <Tr>
            <Th>Instance</Th>
            <Th>State</Th>
            <Th modifier="nowrap">Revision</Th>
            <Th>Since</Th>
            <Th modifier="nowrap">In flight</Th>
            <Th>Memory</Th>
            <Th>Devices</Th>
            <Th>Process</Th>
            <Th screenReaderText="Actions" />
          </Tr>
        </Thead>
        <Tbody>
          {instances.map((instance) => {
            const phase = PHASES[instance.phase] ?? { words: instance.phase, color: "grey" as const };
            return (
              <Tr key={instance.id}>
                <Td dataLabel="Instance">
                  <code>{instance.id}</code>
                </Td>
                <Td dataLabel="State">
                  <Label color={phase.color} isCompact>
                    {phase.words}
                  </Label>
                  {instance.message && <div className="yard-quiet">{instance.message}</div>}
                </Td>
                <Td dataLabel="Revision" className="yard-number">
                  {instance.generation}
                  {instance.generation !== serving && <span className="yard-quiet"> not in effect</span>}
                </Td>
                <Td dataLabel="Since">
                  <Ago at={instance.since} />
                </Td>
                <Td dataLabel="In flight" className="yard-number">
                  {now ? (now.instances[instance.id] ?? 0) : <span className="yard-quiet">not known</span>}
                </Td>
                <Td dataLabel="Memory" className="yard-number">
                  {bytes(instance.memory)}
                </Td>
                <Td dataLabel="Devices">
                  {instance.devices.length > 0 ? (
                    instance.devices.map((id) => <div key={id}>{names.get(id) ?? id}</div>)
                  ) : (
                    <span className="yard-quiet">none</span>
                  )}
                </Td>
                <Td dataLabel="Process" className="yard-number">
                  {instance.pid ?? "–"}
                  {instance.processes > 1 && <div className="yard-quiet">{instance.processes} processes</div>}
                </Td>
                <Td modifier="nowrap" className="yard-row-actions">
                  <Link to={`/models/${model.namespace}/${model.name}/logs?instance=${instance.id}`}>Log</Link>{" "}
                  <WithReason why={instance.phase === "terminating" ? "It is ending already." : why}>
                    <Button
                      variant="link"
                      isDanger
                      isInline
                      isAriaDisabled={why !== null || instance.phase === "terminating"}
                      onClick={() => end(instance)}
                      aria-label={`Terminate ${instance.id}`}
                    >
                      Terminate…
                    </Button>
                  </WithReason>
                </Td>
              </Tr>
            );
          })}
        </Tbody>
      </Table>
      {now && now.waiting > 0 && (
        <p className="yard-quiet" role="status">
          {now.waiting} more waiting for an instance
        </p>
      )}
      {ending && (
        <TerminateDialog
          model={model}
          instance={ending}
          inFlight={now ? (now.instances[ending.id] ?? 0) : null}
          close={() => end(null)}
        />
      )}
    </>
  );
}

function WithReason({ why, children }: { why: string | null; children: React.ReactElement }) {
  return why === null ? children : <Tooltip content={why}>{children}</Tooltip>;
}

/** Devices by their id: what one calls them. */
function useDeviceNames(): Map<string, string> {
  const names = new Map<string, string>();
  for (const { inventory } of useCapacity().data ?? []) {
    for (const { id, name } of inventory.devices) names.set(id, name || id);
  }
  return names;
}
