/** How a schedule stands: what it does next, what it did last, and what went wrong. */

import {
  Alert,
  Button,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  Label,
} from "@patternfly/react-core";
import type { ReactNode } from "react";

import type { Model } from "../../../api/queries";
import { Ago } from "../../../components/Ago";
import { messageOf } from "../../../components/Failed";
import { notify } from "../../../components/notices";
import { useEndExtension, type Schedule, type Status } from "./data";
import { Moment } from "./Moment";

type Outcome = NonNullable<Status["last_action"]>["outcome"];

const OUTCOMES: Record<Outcome, { words: string; color: "green" | "blue" | "red" | "orange" | "grey" }> = {
  pending: { words: "Under way", color: "blue" },
  succeeded: { words: "Done", color: "green" },
  failed: { words: "Failed", color: "red" },
  overridden: { words: "Overridden by hand", color: "orange" },
  skipped: { words: "Kept from it by a policy", color: "grey" },
};
const ACTS = { start: "Start", stop: "Stop" } as const;

interface Props {
  model: Model;
  schedule: Schedule;
  status: Status;
  mayEdit: boolean;
}

export function Standing({ model, schedule, status, mayEdit }: Props) {
  const { last_action: last, next_action: next, failure, extension } = status;
  const { last_transition: change, state } = model.status;
  return (
    <div className="yard-standings">
      {failure && (
        <Alert
          variant="danger"
          isInline
          component="h3"
          title={`${last ? ACTS[last.action] : "Its last action"} failed`}
        >
          {failure.message}{" "}
          <span className="yard-quiet">
            {failure.retries > 0 && `Tried again ${failure.retries} times. `}Next try <Ago at={failure.retry_at} />.
          </span>
        </Alert>
      )}
      {isByHand(model, status) && (
        <Alert
          variant="info"
          isInline
          component="h3"
          title={state === "running" ? "It runs outside its window" : "It is stopped within its window"}
        >
          {change.actor !== "controller" && (
            <>
              By {change.actor}, <Ago at={change.at} />
              {change.reason && `: ${change.reason}`}.{" "}
            </>
          )}
          That holds until the schedule&rsquo;s next time.
        </Alert>
      )}
      {extension && <Extended model={model} schedule={schedule} extension={extension} mayEdit={mayEdit} />}
      <DescriptionList columnModifier={{ default: "1Col", md: "2Col" }} isCompact>
        <Fact term="Next">
          {next ? (
            <>
              {ACTS[next.action]} <Ago at={next.at} />
              <Moment local={next.local} zone={schedule.timezone} />
            </>
          ) : (
            <span className="yard-quiet">{schedule.enabled ? "Nothing is coming." : "Nothing: it is disabled."}</span>
          )}
        </Fact>
        <Fact term="Last">
          {last ? (
            <>
              {ACTS[last.action]} <Ago at={last.at} />{" "}
              <Label isCompact color={OUTCOMES[last.outcome].color}>
                {OUTCOMES[last.outcome].words}
              </Label>
              {last.message && <div className="yard-quiet">{last.message}</div>}
              {last.missed > 0 && (
                <div className="yard-quiet">Caught up after {last.missed} that were due while nobody acted.</div>
              )}
            </>
          ) : (
            <span className="yard-quiet">It has not acted yet.</span>
          )}
        </Fact>
      </DescriptionList>
      <span className="yard-quiet">
        Saved <Ago at={schedule.last_update.at} /> by {schedule.last_update.by}.
      </span>
    </div>
  );
}

function Fact({ term, children }: { term: string; children: ReactNode }) {
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>{term}</DescriptionListTerm>
      <DescriptionListDescription>{children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}

/** The schedule would have the model running if a stop is what it does next. */
function isByHand({ status: { state } }: Model, { next_action: next }: Status): boolean {
  return (next?.action === "stop" && state === "stopped") || (next?.action === "start" && state === "running");
}

function Extended({
  model,
  schedule,
  extension,
  mayEdit,
}: Pick<Props, "model" | "schedule" | "mayEdit"> & { extension: NonNullable<Status["extension"]> }) {
  const ending = useEndExtension(model);
  const end = () =>
    ending.mutate(undefined, { onError: (error) => notify("danger", "It is still kept running", messageOf(error)) });
  const until = new Date(extension.until).toLocaleString("en-GB", {
    timeZone: schedule.timezone,
    weekday: "long",
    hour: "2-digit",
    minute: "2-digit",
  });
  return (
    <Alert
      variant="info"
      isInline
      component="h3"
      title={`Kept running until ${until}`}
      actionLinks={
        mayEdit && (
          <Button variant="link" isInline onClick={end} isLoading={ending.isPending}>
            Take that back
          </Button>
        )
      }
    >
      {extension.note}
    </Alert>
  );
}
