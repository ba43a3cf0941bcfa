/** The coming weeks of a schedule: a column a day, a bar where the model runs. The same is there in words. */

import { Label } from "@patternfly/react-core";
import { useMemo } from "react";

import { clock, dateOf, daysOf, minuteOf, wallIn, type ComingActions, type DayPlan } from "./days";
import "./schedule.css";

const WEEK = 7;
const HOURS = [6, 12, 18];
// Minutes that are drawn high enough for two lines.
const TALL = 300;
const named = (options: Intl.DateTimeFormatOptions) =>
  new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" });
const SHORT = named({ weekday: "short", day: "numeric", month: "short" });
const LONG = named({ weekday: "long", day: "numeric", month: "long" });
const percent = (minute: number) => `${(minute / 1440) * 100}%`;

export function WeekCalendar({ coming }: { coming: ComingActions }) {
  const now = wallIn(coming.timezone);
  const days = useMemo(() => daysOf(coming, now), [coming, now]);
  const weeks = Array.from({ length: Math.ceil(days.length / WEEK) }, (_, week) =>
    days.slice(week * WEEK, (week + 1) * WEEK),
  );
  return (
    <div className="yard-calendar">
      {weeks.map((week) => (
        <ol
          key={week[0]?.date}
          className="yard-week"
          aria-label={`Week from ${LONG.format(new Date(week[0]?.date ?? 0))}`}
        >
          {week.map((day) => (
            <DayColumn key={day.date} day={day} now={dateOf(now) === day.date ? minuteOf(now) : null} />
          ))}
        </ol>
      ))}
      <p className="yard-quiet">Times of {coming.timezone}.</p>
    </div>
  );
}

function DayColumn({ day, now }: { day: DayPlan; now: number | null }) {
  const at = new Date(day.date);
  return (
    <li className={now === null ? "yard-column" : "yard-column yard-column--today"}>
      <span className="yard-column__head">
        <span aria-hidden="true">{SHORT.format(at)}</span>
        <span className="pf-v6-screen-reader">
          {LONG.format(at)}
          {now !== null && ", today"}: {inWords(day)}
        </span>
      </span>
      <div className="yard-column__body" aria-hidden="true">
        {HOURS.map((hour) => (
          <span key={hour} className="yard-hour" style={{ insetBlockStart: percent(hour * 60) }} />
        ))}
        {day.pieces.map(({ from, to }) => (
          <span
            key={from}
            className="yard-run"
            style={{ insetBlockStart: percent(from), blockSize: percent(to - from) }}
            title={`${clock(from)} to ${clock(to)}`}
          >
            <span>{clock(from)}</span>
            {to - from >= TALL && <span>{clock(to)}</span>}
          </span>
        ))}
        {day.off !== null && <span className="yard-off">{day.off || "Off"}</span>}
        {now !== null && <span className="yard-now" style={{ insetBlockStart: percent(now) }} />}
      </div>
      {(day.clock ?? day.notes[0]) && (
        <span className="yard-column__foot" aria-hidden="true" title={[day.clock, ...day.notes].join(" ").trim()}>
          <Label isCompact color={day.clock ? "orange" : "blue"}>
            {day.clock ? "Clock set" : day.notes[0]}
          </Label>
        </span>
      )}
    </li>
  );
}

function inWords(day: DayPlan): string {
  const runs = day.pieces.map(({ from, to }) => `${clock(from)} to ${clock(to)}`);
  return [
    runs.length ? `runs ${runs.join(" and ")}` : day.off !== null ? `off, ${day.off}` : "nothing",
    ...(day.clock ? [day.clock] : []),
    ...day.notes,
  ].join(". ");
}
