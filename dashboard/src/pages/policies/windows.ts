/** Weekly windows as stretches of the week, for checks and for drawing; the server checks the same. */

import { stopOf, WEEKDAYS, type Weekday } from "../../components/schedule/rules";
import type { Rules, WeeklyWindow } from "./data";

const DAY = 1440;
const WEEK = 7 * DAY;

/** A new one: the weekend. */
export const firstWindow = (): WeeklyWindow => ({ from: "friday 20:00", to: "monday 06:00" });

export function momentOf(text: string | null | undefined): { day: Weekday; time: string } {
  const [day = "", time = ""] = (text ?? "").split(" ", 2);
  return { day: WEEKDAYS.find((one) => one === day.toLowerCase()) ?? "monday", time };
}

/** Minutes of the day; null: no time. 00:00 begins a day, and 24:00 ends it. */
function minuteOf(text: string): number | null {
  return text === "00:00" ? 0 : stopOf(text);
}

/** What is wrong with it; null: nothing. */
export function windowProblem({ days = [], start, stop, from, to }: WeeklyWindow): string | null {
  const written = from || to ? [momentOf(from).time, momentOf(to).time] : [start ?? "00:00", stop ?? "24:00"];
  const [begins, ends] = written.map(minuteOf);
  if (begins === null || begins === undefined || begins === DAY) return "Write its beginning as HH:MM, up to 23:59.";
  if (ends === null || ends === undefined) return "Write its end as HH:MM; 24:00 is the end of the day.";
  if (from || to) return null;
  if (days.length === 0) return "Choose at least one day.";
  return ends <= begins ? "It ends after it begins; over midnight, name both days." : null;
}

/** From the week's beginning, Monday 00:00, in minutes; over its end it goes on at the beginning. */
function stretches(window: WeeklyWindow): [number, number][] {
  if (windowProblem(window)) return [];
  if (window.from || window.to) {
    const [begins, ends] = [momentOf(window.from), momentOf(window.to)];
    const from = WEEKDAYS.indexOf(begins.day) * DAY + (minuteOf(begins.time) ?? 0);
    const to = WEEKDAYS.indexOf(ends.day) * DAY + (minuteOf(ends.time) ?? 0);
    return to > from
      ? [[from, to]]
      : [
          [from, WEEK],
          [0, to],
        ];
  }
  return (window.days ?? []).map((day) => {
    const base = WEEKDAYS.indexOf(day) * DAY;
    return [base + (minuteOf(window.start ?? "00:00") ?? 0), base + (minuteOf(window.stop ?? "24:00") ?? DAY)];
  });
}

/** What is shut of each day, in minutes of it. */
export function shutByDay(windows: WeeklyWindow[]): { from: number; to: number }[][] {
  const all = windows.flatMap(stretches);
  return WEEKDAYS.map((_, day) =>
    all
      .map(([from, to]) => ({ from: Math.max(from - day * DAY, 0), to: Math.min(to - day * DAY, DAY) }))
      .filter(({ from, to }) => from < to),
  );
}

const DURATION = /^\d+(\.\d+)?(ms|s|m|h|d)$/;

/** What can be seen to be wrong without the server, by the paths that it would use. */
export function ruleProblems(rules: Rules): { path: string; message: string }[] {
  const found: { path: string; message: string }[] = [];
  const { shutdown, idle_after, max_run_time } = rules;
  if (shutdown) {
    if (shutdown.windows.length === 0) found.push({ path: "rules.shutdown.windows", message: "Add a window." });
    shutdown.windows.forEach((window, index) => {
      const message = windowProblem(window);
      if (message) found.push({ path: `rules.shutdown.windows[${index}]`, message });
    });
  }
  for (const [name, value] of Object.entries({ idle_after, max_run_time })) {
    if (value !== null && value !== undefined && !DURATION.test(String(value)))
      found.push({ path: `rules.${name}`, message: "A number with its unit: 30m, 2h or 3d." });
  }
  return found;
}

export function isEmpty({ shutdown, idle_after, max_run_time, caps = {}, ...rest }: Rules): boolean {
  const held = [caps.gpus, caps.memory, caps.cpu].some((one) => one !== null && one !== undefined && one !== "");
  const flags = rest.require_signature || rest.protected || (rest.allowed_backends ?? []).length > 0;
  const timed = [shutdown, idle_after, max_run_time].some((one) => one !== null && one !== undefined);
  return !held && !flags && !timed;
}
