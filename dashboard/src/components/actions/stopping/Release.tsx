/** A stop that is under way: the requests that are left, and at the end what the verified release gave back. */

import {
  Alert,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  Progress,
} from "@patternfly/react-core";
import { useState } from "react";

import type { InFlight } from "../../../api/inFlight";
import type { Model } from "../../../api/queries";
import { duration } from "../../Ago";
import { bytes, many } from "../../quantities";

interface Props {
  model: Model;
  now: InFlight | null;
  /** Until then what is in flight is finished; empty: nothing is waited for. */
  patience: string;
}

export function Release({ model, now, patience }: Props) {
  const { state, released, instances, conditions } = model.status;
  const left = now?.requests ?? 0;
  // As many as there were when the door was closed.
  const [most, setMost] = useState(left);
  if (left > most) setMost(left);
  if (state === "stopped" && released) return <Released model={model} />;
  const stuck = conditions.find(({ type, reason, status }) => type === "Degraded" && reason === "Stuck" && status);
  const isDraining = left > 0;
  return (
    <>
      <div role="status">
        <Progress
          aria-label="Stopping"
          title={isDraining ? `${many(left, "request")} left` : `${many(instances.length, "instance")} left to end`}
          measureLocation="none"
          value={isDraining ? 4 + 86 * (1 - left / Math.max(most, 1)) : instances.length === 0 ? 98 : 92}
        />
      </div>
      <p className="yard-quiet">
        {isDraining && patience
          ? `New requests are refused. What is not finished after ${patience} is cut off. `
          : `${model.status.message} `}
        You may close this: it goes on.
      </p>
      {stuck && (
        <Alert variant="warning" isInline component="p" title="Something does not end">
          {stuck.message}
        </Alert>
      )}
    </>
  );
}

export function Released({ model }: { model: Model }) {
  const { released } = model.status;
  if (!released) return null;
  const { requests } = released;
  return (
    <div role="status">
      <DescriptionList isHorizontal isCompact aria-label="Verified release">
        <DescriptionListGroup>
          <DescriptionListTerm>Verified stopped</DescriptionListTerm>
          <DescriptionListDescription>after {duration(released.took_seconds)}</DescriptionListDescription>
        </DescriptionListGroup>
        <DescriptionListGroup>
          <DescriptionListTerm>Released</DescriptionListTerm>
          <DescriptionListDescription>
            {bytes(released.memory)} of memory, {many(released.processes, "process", "processes")}
            {released.devices.length > 0 && `, ${many(released.devices.length, "device")}`}
          </DescriptionListDescription>
        </DescriptionListGroup>
        <DescriptionListGroup>
          <DescriptionListTerm>Requests</DescriptionListTerm>
          <DescriptionListDescription>
            {requests.finished} finished, {requests.refused} refused, {requests.cut} cut off
          </DescriptionListDescription>
        </DescriptionListGroup>
      </DescriptionList>
    </div>
  );
}
