/** Where a schedule would have a model run while a policy keeps it shut down. */

import type { Timetable } from "../../api/schedules";

export interface Conflict {
  policy: string;
  start: number;
  stop: number;
}

export function conflictsOf({ runs, shut }: Pick<Timetable, "runs" | "shut">): Conflict[] {
  return runs.flatMap((run) =>
    shut.flatMap(({ policy, start, stop }) => {
      const from = Math.max(Date.parse(run.start), Date.parse(start));
      const to = Math.min(Date.parse(run.stop), Date.parse(stop));
      return from < to ? [{ policy, start: from, stop: to }] : [];
    }),
  );
}

/** Those whose last action failed first, then those that a policy is in the way of, each by name. */
export function inOrder(timetables: Timetable[]): Timetable[] {
  const order = new Intl.Collator("en", { numeric: true });
  const rank = (one: Timetable) => (one.status === "failed" ? 0 : conflictsOf(one).length > 0 ? 1 : 2);
  return [...timetables].sort((a, b) => rank(a) - rank(b) || order.compare(a.name, b.name));
}
