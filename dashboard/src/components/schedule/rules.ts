/** What a schedule must keep to, checked while it is typed; the server checks the same and more. */

import type { Schemas } from "../../api/client";

export type SaveSchedule = Schemas["SaveSchedule"];
export type TimeWindow = Schemas["TimeWindow"];
export type DayException = Schemas["DayException"];
export type Weekday = Schemas["Weekday"];

export interface FieldError {
  path: string;
  message: string;
}

export const WEEKDAYS: Weekday[] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const DAY = 24 * 60;
const LEAST = 120;

export const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/** What a new one begins with: office hours where the reader is. */
export function firstSchedule(): SaveSchedule {
  const window = { start: "08:00", stop: "20:00" };
  return {
    type: "daily",
    timezone: ownZone(),
    daily: Object.fromEntries(WEEKDAYS.slice(0, 5).map((day) => [day, window])),
    exceptions: [],
    holidays: null,
    enabled: true,
  };
}

export const dayWord = (day: string) => day.charAt(0).toUpperCase() + day.slice(1);
export const dayAfter = (day: Weekday): Weekday => WEEKDAYS[(WEEKDAYS.indexOf(day) + 1) % 7] ?? "monday";

/** Minutes since midnight; null: it is no time. */
function minutesOf(text: string): number | null {
  const [, hours, minutes] = /^([01]\d|2[0-3]):([0-5]\d)$/.exec(text) ?? [];
  return hours === undefined ? null : Number(hours) * 60 + Number(minutes);
}

/** 24:00, also written 00:00, is the end of the day. */
export const stopOf = (text: string) => (text === "24:00" || text === "00:00" ? DAY : minutesOf(text));

export function isOverMidnight({ start, stop }: TimeWindow): boolean {
  const [from, to] = [minutesOf(start), stopOf(stop)];
  return from !== null && to !== null && to <= from;
}

/** What is wrong with a window, and with which of its ends. */
export function windowProblem(window: TimeWindow): { field: "start" | "stop"; message: string } | null {
  const [from, to] = [minutesOf(window.start), stopOf(window.stop)];
  if (from === null) return { field: "start", message: "Write the time as HH:MM, for example 08:00." };
  if (to === null) return { field: "stop", message: "Write the time as HH:MM; 24:00 is the end of the day." };
  if (to <= from) return { field: "stop", message: `${window.stop} is not after ${window.start} on the same day.` };
  if (to - from < LEAST) return { field: "stop", message: "A window is at least two hours long." };
  return null;
}

/** The two days' windows that one over midnight is; a word instead where it cannot be made so. */
export function splitOverMidnight(
  day: Weekday,
  window: TimeWindow,
  daily: Record<string, TimeWindow>,
): Record<string, TimeWindow> | string {
  const [from, to] = [minutesOf(window.start) ?? 0, stopOf(window.stop) ?? 0];
  const next = dayAfter(day);
  if (daily[next]) return `${dayWord(next)} has a window already, and a day has one.`;
  if (DAY - from < LEAST) return "Its part until 24:00 would be under two hours: start at 22:00 or before.";
  if (to < LEAST) return "Its part from 00:00 would be under two hours: stop at 02:00 or later, or at 24:00.";
  return { [day]: { start: window.start, stop: "24:00" }, [next]: { start: "00:00", stop: window.stop } };
}

export const firstOf = (one: DayException) => one.date ?? one.from ?? "";
export const lastOf = (one: DayException) => one.date ?? one.to ?? "";

/** By date, as they are saved; those without one come last. */
export const inOrder = (exceptions: DayException[]) =>
  [...exceptions].sort((a, b) => (firstOf(a) || "9").localeCompare(firstOf(b) || "9"));

function exceptionProblems(exceptions: DayException[]): FieldError[] {
  return exceptions.flatMap((one, index) => {
    const path = `exceptions[${index}]`;
    const [first, last] = [firstOf(one), lastOf(one)];
    const found: FieldError[] = [];
    if (!first) found.push({ path: `${path}.from`, message: "Choose the day." });
    else if (!last) found.push({ path: `${path}.to`, message: "Choose the last day." });
    else if (last < first) found.push({ path: `${path}.to`, message: "The last day is before the first." });
    else if (exceptions.some((other, at) => at < index && firstOf(other) <= last && first <= lastOf(other)))
      found.push({ path: `${path}.from`, message: "Another exception has these days." });
    const problem = one.window && windowProblem(one.window);
    if (problem) found.push({ path: `${path}.window.${problem.field}`, message: problem.message });
    return found;
  });
}

/** All that can be seen without the server, by the paths that it would use; none: it may be sent. */
export function scheduleProblems(value: SaveSchedule): FieldError[] {
  const windows: [string, TimeWindow][] =
    value.type === "recurring"
      ? value.recurring
        ? [["recurring", value.recurring]]
        : []
      : Object.entries(value.daily ?? {}).map(([day, window]) => [`daily.${day}`, window]);
  const found = windows.flatMap(([path, window]) => {
    const problem = windowProblem(window);
    return problem ? [{ path: `${path}.${problem.field}`, message: problem.message }] : [];
  });
  if (windows.length === 0) found.push({ path: value.type, message: "Choose at least one day." });
  if (value.holidays && !value.holidays.country)
    found.push({ path: "holidays.country", message: "Choose whose holidays." });
  return [...found, ...exceptionProblems(value.exceptions ?? [])];
}

/** What of the server's errors is about the schedule within a larger body. */
export function errorsBelow(errors: FieldError[], prefix: string): FieldError[] {
  return errors
    .filter(({ path }) => path.startsWith(`${prefix}.`))
    .map(({ path, message }) => ({ path: path.slice(prefix.length + 1), message }));
}
