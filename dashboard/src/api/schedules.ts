/** The timetables of all models that run by themselves. */

import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";

import { allPages, api, ask, type Schemas } from "./client";
import { queryClient } from "./queries";

export type Timetable = Schemas["Timetable"];
export type NextAction = Schemas["NextAction"];

const KEY = ["schedules"];
// Milliseconds after an action was due until it is on record as done.
const CARRIED_OUT = 3_000;
// The longest that a browser's timer takes.
const LONGEST = 2 ** 31 - 1;

/** With what they have running in the week from `week` on; without one only with what is next. */
export function useTimetables(week?: Date) {
  const query = week ? { from: week.toISOString(), days: 7 } : { days: 0 };
  const found = useQuery({
    queryKey: [...KEY, query],
    queryFn: () =>
      allPages((token) =>
        ask(api.GET("/api/v1/schedules", { params: { query: { ...query, page_size: 500, page_token: token } } })),
      ),
  });
  // What is next is another one as soon as it has come, whether or not anything happened to the model then.
  const next = found.data && soonest(found.data);
  useEffect(() => {
    if (next === undefined || next === Infinity) return;
    const pause = Math.min(Math.max(next - Date.now(), 0) + CARRIED_OUT, LONGEST);
    const timer = window.setTimeout(() => void queryClient.invalidateQueries({ queryKey: KEY }), pause);
    return () => window.clearTimeout(timer);
  }, [next]);
  return found;
}

export const askForTimetables = () => queryClient.invalidateQueries({ queryKey: KEY });

const soonest = (all: Timetable[]) =>
  Math.min(...all.flatMap(({ next_action }) => (next_action ? [Date.parse(next_action.at)] : [])));

/** The beginning of a day in the browser's zone, so many days after that of `at`. */
export function midnight(at: Date, days = 0): Date {
  return new Date(at.getFullYear(), at.getMonth(), at.getDate() + days);
}
