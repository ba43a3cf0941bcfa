/** When something ends: a while from now, at a time of one's own, or never. */

import { Split, SplitItem, TextInput } from "@patternfly/react-core";
import { useState } from "react";

import { PickOne } from "./Pick";

export interface While {
  words: string;
  /** Infinity: never. */
  seconds: number;
}

const HOUR = 3600;
const DAY = 24 * HOUR;
export const SHORT: While[] = [
  { words: "For an hour", seconds: HOUR },
  { words: "For 4 hours", seconds: 4 * HOUR },
  { words: "For a day", seconds: DAY },
  { words: "For a week", seconds: 7 * DAY },
];
export const LONG: While[] = [
  { words: "After 30 days", seconds: 30 * DAY },
  { words: "After 90 days", seconds: 90 * DAY },
  { words: "After a year", seconds: 365 * DAY },
  { words: "Never", seconds: Infinity },
];

const OWN = "own";

/** How it is asked: a `While` by its place, or a time as an input has it. */
export interface End {
  picked: string;
  at: string;
}

export const startEnd = (place: number): End => ({ picked: String(place), at: "" });

/** The time that is meant; null: never; undefined: none that is to come. */
export function endOf({ picked, at }: End, whiles: While[]): string | null | undefined {
  if (picked === OWN) {
    const time = Date.parse(at);
    return Number.isNaN(time) || time <= Date.now() ? undefined : new Date(time).toISOString();
  }
  const seconds = whiles[Number(picked)]?.seconds ?? 0;
  return seconds === Infinity ? null : new Date(Date.now() + seconds * 1000).toISOString();
}

interface UntilProps {
  id: string;
  label: string;
  whiles: While[];
  end: End;
  choose: (end: End) => void;
}

export function Until({ id, label, whiles, end, choose }: UntilProps) {
  const [now] = useState(() => local(new Date()));
  return (
    <Split hasGutter isWrappable>
      <SplitItem>
        <PickOne
          label={label}
          value={end.picked}
          onPick={(picked) => choose({ ...end, picked })}
          choices={[
            ...whiles.map(({ words }, place) => ({ value: String(place), words })),
            { value: OWN, words: "At a time…" },
          ]}
        />
      </SplitItem>
      {end.picked === OWN && (
        <SplitItem isFilled>
          <TextInput
            id={id}
            type="datetime-local"
            aria-label={`${label}: time`}
            min={now}
            value={end.at}
            onChange={(_, at) => choose({ ...end, at })}
            validated={end.at && endOf(end, whiles) === undefined ? "error" : "default"}
          />
        </SplitItem>
      )}
    </Split>
  );
}

/** As inputs for times have it, on this machine's clock. */
function local(at: Date): string {
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
