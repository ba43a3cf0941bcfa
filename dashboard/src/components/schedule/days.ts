/** What comes of a schedule, by the days of its own zone. */

import type { Schemas } from "../../api/client";

export type ComingActions = Pick<
  Schemas["ComingActions"],
  "timezone" | "days" | "actions" | "days_off" | "clock_changes"
>;

/** In minutes of the day, which ends at 1440. */
export interface Piece {
  from: number;
  to: number;
}

export interface DayPlan {
  /** YYYY-MM-DD. */
  date: string;
  pieces: Piece[];
  off: string | null;
  clock: string | null;
  notes: string[];
}

const DAY = 1440;

export const dateOf = (local: string) => local.slice(0, 10);
export const minuteOf = (local: string) => Number(local.slice(11, 13)) * 60 + Number(local.slice(14, 16));

export function clock(minute: number): string {
  return `${String(Math.floor(minute / 60)).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}`;
}

export function dayAt(date: string, days: number): string {
  const at = new Date(`${date}T00:00:00Z`);
  at.setUTCDate(at.getUTCDate() + days);
  return at.toISOString().slice(0, 10);
}

/** "2026-11-23T14:30" in the zone. */
export function wallIn(zone: string, at = new Date()): string {
  const parts = new Intl.DateTimeFormat("en-CA", {
    timeZone: zone,
    hourCycle: "h23",
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
  }).formatToParts(at);
  const of = (type: string) => parts.find((part) => part.type === type)?.value ?? "";
  return `${of("year")}-${of("month")}-${of("day")}T${of("hour")}:${of("minute")}`;
}

/** From one local time to another; what begins before the first day, or ends after the last, is cut there. */
function runsOf({ actions }: ComingActions, now: string, end: string): [string, string][] {
  const runs: [string, string][] = [];
  let since = actions[0]?.action === "stop" ? now : "";
  for (const { action, local } of actions) {
    if (action === "start") since ||= local;
    else if (since) {
      runs.push([since, local]);
      since = "";
    }
  }
  if (since) runs.push([since, end]);
  return runs;
}

export function daysOf(coming: ComingActions, now: string): DayPlan[] {
  const first = dateOf(now);
  const runs = runsOf(coming, now, `${dayAt(first, coming.days)}T00:00`);
  return Array.from({ length: coming.days }, (_, number) => {
    const date = dayAt(first, number);
    const pieces = runs
      .filter(([since, until]) => dateOf(since) <= date && (date < dateOf(until) || date === dateOf(until)))
      .map(([since, until]) => ({
        from: dateOf(since) === date ? minuteOf(since) : 0,
        to: dateOf(until) === date ? minuteOf(until) : DAY,
      }))
      .filter(({ from, to }) => to > from);
    const change = coming.clock_changes.find((one) => one.date === date);
    const notes = coming.actions.filter(({ local, note }) => note && dateOf(local) === date).map(({ note }) => note);
    return {
      date,
      pieces,
      off: coming.days_off.find((one) => one.date === date)?.note ?? null,
      clock: change ? `Clock set: ${change.before} to ${change.after}` : null,
      notes: [...new Set(notes)],
    };
  });
}
