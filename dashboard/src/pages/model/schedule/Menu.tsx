/** What can be done with a schedule beside editing it. */

import { Button, Flex, FlexItem, Tooltip } from "@patternfly/react-core";
import { DownloadIcon } from "@patternfly/react-icons";
import { useState } from "react";

import type { Model } from "../../../api/queries";
import { messageOf } from "../../../components/Failed";
import { notify } from "../../../components/notices";
import { RowActions } from "../../../components/RowActions";
import { useSwitch, type Schedule, type Status } from "./data";
import { ExtendDialog } from "./Extend";
import { RemoveDialog } from "./Remove";

interface Props {
  model: Model;
  schedule: Schedule;
  status: Status;
  /** Why one may not; null: one may. */
  forbidden: string | null;
  removed: () => void;
}

export function Menu({ model, schedule, status, forbidden, removed }: Props) {
  const [dialog, show] = useState<"extend" | "remove" | null>(null);
  const switching = useSwitch(model);
  const turn = (on: boolean) =>
    switching.mutate(on, {
      onSuccess: () => notify("success", on ? "The schedule acts from its next time on" : "The schedule does nothing"),
      onError: (error) => notify("danger", on ? "It was not enabled" : "It was not disabled", messageOf(error)),
    });
  const notNow = forbidden ?? whyNoExtension(schedule, status);
  const extend = (
    <Button variant="secondary" isAriaDisabled={notNow !== null} onClick={() => show("extend")}>
      Keep running longer…
    </Button>
  );
  const why = forbidden ?? undefined;
  return (
    <Flex columnGap={{ default: "columnGapSm" }} alignItems={{ default: "alignItemsCenter" }}>
      <FlexItem>{notNow === null ? extend : <Tooltip content={notNow}>{extend}</Tooltip>}</FlexItem>
      <FlexItem>
        <Button
          variant="link"
          component="a"
          icon={<DownloadIcon />}
          href={`/api/v1/namespaces/${model.namespace}/models/${model.name}/schedule.ics`}
          download={`${model.name}.ics`}
        >
          As calendar
        </Button>
      </FlexItem>
      <FlexItem>
        <RowActions
          of="the schedule"
          actions={[
            schedule.enabled
              ? { words: "Disable", act: () => turn(false), why }
              : { words: "Enable", act: () => turn(true), why },
            { words: "Remove…", act: () => show("remove"), why, isDanger: true },
          ]}
        />
      </FlexItem>
      {dialog === "extend" && <ExtendDialog model={model} schedule={schedule} close={() => show(null)} />}
      {dialog === "remove" && <RemoveDialog model={model} close={() => show(null)} done={removed} />}
    </Flex>
  );
}

function whyNoExtension(schedule: Schedule, { next_action: next }: Status): string | null {
  if (!schedule.enabled) return "The schedule is disabled: it stops nothing.";
  if (!next) return "No stop is coming.";
  return next.action === "start" ? "The schedule does not have it running now: start it by hand." : null;
}
