/** A schedule for those who may not edit it. */

import {
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
} from "@patternfly/react-core";

import { dayWord, firstOf, lastOf, WEEKDAYS } from "../../../components/schedule/rules";
import type { Schedule } from "./data";

export function InWords({ schedule }: { schedule: Schedule }) {
  const { recurring, daily, exceptions, holidays, timezone } = schedule;
  const windows: [string, string][] = recurring
    ? [["Every day", `${recurring.start} to ${recurring.stop}`]]
    : WEEKDAYS.flatMap((day) => {
        const window = daily[day];
        return window ? [[dayWord(day), `${window.start} to ${window.stop}`] as [string, string]] : [];
      });
  const special = exceptions.map((one): [string, string] => [
    firstOf(one) === lastOf(one) ? firstOf(one) : `${firstOf(one)} to ${lastOf(one)}`,
    [one.window ? `${one.window.start} to ${one.window.stop}` : "off", one.note].filter(Boolean).join(", "),
  ]);
  const rows: [string, string][] = [
    ...windows,
    ...special,
    ...(holidays
      ? [
          ["Public holidays", `of ${[holidays.country, holidays.subdivision].filter(Boolean).join("-")}: off`] as [
            string,
            string,
          ],
        ]
      : []),
    ["Time zone", timezone],
  ];
  return (
    <DescriptionList isHorizontal isCompact>
      {rows.map(([term, words]) => (
        <DescriptionListGroup key={term}>
          <DescriptionListTerm>{term}</DescriptionListTerm>
          <DescriptionListDescription className="yard-number">{words}</DescriptionListDescription>
        </DescriptionListGroup>
      ))}
    </DescriptionList>
  );
}
