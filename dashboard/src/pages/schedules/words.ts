/** A week's timetable in words. */

import type { Timetable } from "../../api/schedules";
import { conflictsOf } from "./conflicts";

const FROM = new Intl.DateTimeFormat("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit" });
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

function span(start: number, stop: number): string {
  const [from, to] = [new Date(start), new Date(stop)];
  // Midnight after it is still of that day.
  const sameDay = new Date(stop - 1).toDateString() === from.toDateString();
  const ends = sameDay ? TIME.format(to).replace("00:00", "24:00") : FROM.format(to);
  return `${FROM.format(from)} to ${ends}`;
}

export function timesOf(one: Timetable): string {
  const runs = one.runs.map(({ start, stop }) => span(Date.parse(start), Date.parse(stop)));
  const lost = conflictsOf(one).map(({ policy, start, stop }) => `${span(start, stop)} shut down by policy ${policy}`);
  return [runs.join(", ") || "Does not run in this week", ...lost].join("; ");
}
