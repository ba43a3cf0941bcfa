/** The head of a model's page: its state and why, what comes next, and what is under way. */

import { Flex, FlexItem, Label, Title } from "@patternfly/react-core";
import { CalendarAltIcon, HourglassHalfIcon, PowerOffIcon } from "@patternfly/react-icons";
import { Fragment, type ReactNode } from "react";
import { Link } from "react-router";

import type { Schemas } from "../../api/client";
import type { Model } from "../../api/queries";
import { Ago, duration } from "../../components/Ago";
import { ModelActions } from "../../components/actions/ModelActions";
import { bytes, many } from "../../components/quantities";
import { StateLabel } from "../../components/StateLabel";
import { OperationProgress } from "./operations";
import { useNextAction, useRunning } from "./parts";

type Ref = Schemas["ModelRef"];

export function Head({ model, gone }: { model: Model; gone: () => void }) {
  const { status } = model;
  const running = useRunning(model).data ?? [];
  return (
    <Flex direction={{ default: "column" }} gap={{ default: "gapSm" }} alignItems={{ default: "alignItemsStretch" }}>
      <Flex justifyContent={{ default: "justifyContentSpaceBetween" }} alignItems={{ default: "alignItemsFlexStart" }}>
        <FlexItem flex={{ default: "flex_1" }}>
          <Flex alignItems={{ default: "alignItemsCenter" }} columnGap={{ default: "columnGapMd" }}>
            <Title headingLevel="h1">{model.name}</Title>
            <StateLabel state={status.state} />
            {model.spec.public && (
              <Label color="orange" isCompact>
                Public
              </Label>
            )}
          </Flex>
          <p>
            {status.waiting && status.state === "queued" ? (
              <Queued waiting={status.waiting} />
            ) : (
              <WentBack model={model} />
            )}
            <span className="yard-quiet">
              <Ago at={status.last_transition.at} /> by {status.last_transition.actor}
              {because(model)}
            </span>
          </p>
          <Beside model={model} />
        </FlexItem>
        <FlexItem>
          <ModelActions model={model} toggle="Actions" gone={gone} />
        </FlexItem>
      </Flex>
      {running.map((operation) => (
        <OperationProgress key={operation.id} model={model} operation={operation} />
      ))}
    </Flex>
  );
}

/** What somebody wrote, not the code that Modelyard itself gives. */
function because({ status: { last_transition: last } }: Model): string {
  return last.reason && !/^[A-Z][A-Za-z]+$|^[a-z_]+$/.test(last.reason) ? `: ${last.reason}` : "";
}

/** Its message; after an update that failed it is about that, so what serves nevertheless is said first. */
function WentBack({ model: { namespace, name, status } }: { model: Model }) {
  const failed = status.rolled_back_from;
  if (failed === null || status.state !== "running") return `${status.message} `;
  return (
    <>
      {failed === status.serving_generation ? `Launching revision ${failed} anew` : `The update to revision ${failed}`}{" "}
      failed; the last good instances serve. <Link to={`/models/${namespace}/${name}/revisions`}>See why</Link>{" "}
    </>
  );
}

function Queued({ waiting }: { waiting: Schemas["Waiting"] }) {
  const { place, kinds, holders, others, reason } = waiting;
  const what = kinds.length > 0 ? kinds.map((kind) => (kind === "gpus" ? "GPUs" : kind)).join(" and ") : "capacity";
  return (
    <>
      {place !== null && `Place ${place} in the queue. `}
      Waits for {what}
      {reason === "QuotaExceeded" && " of the namespace's quota"}
      {holders.length + others > 0 && (
        <>
          , held by <Models refs={holders} />
          {others > 0 && `${holders.length > 0 ? " and " : ""}${many(others, "other model")}`}
        </>
      )}
      .
    </>
  );
}

function Models({ refs }: { refs: Ref[] }) {
  return refs.map(({ namespace, name }, index) => (
    <Fragment key={`${namespace}/${name}`}>
      {index > 0 && ", "}
      <Link to={`/models/${namespace}/${name}`}>{name}</Link>
    </Fragment>
  ));
}

/** What comes next, and what was: one line each, only where there is something to say. */
function Beside({ model }: { model: Model }) {
  const { released, state, preempted } = model.status;
  const next = useNextAction(model).data;
  return (
    <>
      {next?.next_action && (
        <Line icon={<CalendarAltIcon />}>
          {next.next_action.action === "start" ? "Starts" : "Stops"} <Ago at={next.next_action.at} />, by its{" "}
          <Link to={`/models/${model.namespace}/${model.name}/schedule`}>schedule</Link>{" "}
          <span className="yard-quiet">
            ({local(next.next_action.local)} in {next.timezone})
          </span>
        </Line>
      )}
      {preempted?.by && (
        <Line icon={<HourglassHalfIcon />}>
          Made room for <Models refs={[preempted.by]} /> <Ago at={preempted.at} />; comes back when there is room
        </Line>
      )}
      {state === "stopped" && released && (
        <Line icon={<PowerOffIcon />}>
          Released {bytes(released.memory)} of memory
          {released.devices.length > 0 && `, ${many(released.devices.length, "device")}`} and{" "}
          {many(released.processes, "process", "processes")} in {duration(released.took_seconds)}, verified{" "}
          <span className="yard-quiet">
            {released.requests.finished} requests finished, {released.requests.cut} cut off
          </span>
        </Line>
      )}
    </>
  );
}

function Line({ icon, children }: { icon: ReactNode; children: ReactNode }) {
  return (
    <p className="yard-line">
      <span aria-hidden>{icon}</span> <span>{children}</span>
    </p>
  );
}

/** By the clock of the schedule's zone, whatever the reader's is. */
function local(at: string): string {
  const [date = "", time = ""] = at.split("T");
  const weekday = new Intl.DateTimeFormat("en", { weekday: "long", timeZone: "UTC" }).format(
    new Date(`${date}T00:00Z`),
  );
  return `${weekday} ${time.slice(0, 5)}`;
}
