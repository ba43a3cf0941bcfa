/** How a schedule stands, in a word. */

import { Label, Tooltip } from "@patternfly/react-core";

import type { Timetable } from "../../api/schedules";
import { conflictsOf } from "./conflicts";

export function Standing({ of }: { of: Timetable }) {
  const policies = [...new Set(conflictsOf(of).map(({ policy }) => policy))];
  return (
    <>
      {of.status === "failed" && (
        <Tooltip content={of.failure?.message ?? ""}>
          <Label isCompact status="danger" tabIndex={0}>
            Failed
          </Label>
        </Tooltip>
      )}
      {of.status === "disabled" && (
        <Label isCompact color="grey">
          Disabled
        </Label>
      )}
      {of.extension && (
        <Label isCompact color="blue">
          Kept running
        </Label>
      )}
      {policies.length > 0 && (
        <Label isCompact status="warning">
          {policies.join(", ")} is in the way
        </Label>
      )}
    </>
  );
}
