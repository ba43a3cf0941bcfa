/** A week of many models: a row a model, a bar while its schedule has it run. */

import { Link } from "react-router";

import { midnight, type Timetable } from "../../api/schedules";
import { conflictsOf } from "./conflicts";
import { Standing } from "./Standing";
import { timesOf } from "./words";
import "./schedules.css";

const DAYS = [0, 1, 2, 3, 4, 5, 6];
const HEAD = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });

/** A moment as percent of the week; days are equally wide, also those of 23 or 25 hours. */
function placeIn(week: Date, at: number): number {
  if (at <= week.getTime()) return 0;
  for (const day of DAYS) {
    const [from, to] = [midnight(week, day).getTime(), midnight(week, day + 1).getTime()];
    if (at < to) return ((day + (at - from) / (to - from)) / 7) * 100;
  }
  return 100;
}

export function Week({ timetables, week }: { timetables: Timetable[]; week: Date }) {
  const now = placeIn(week, Date.now());
  const today = midnight(new Date()).getTime();
  const bar = (start: number, stop: number) => {
    const from = placeIn(week, start);
    return { insetInlineStart: `${from}%`, inlineSize: `${placeIn(week, stop) - from}%` };
  };
  return (
    <table className="yard-timetable">
      <caption className="pf-v6-screen-reader">What runs by schedule in the week from {HEAD.format(week)}</caption>
      <thead>
        <tr>
          <th scope="col">Model</th>
          {DAYS.map((day) => {
            const at = midnight(week, day);
            const isToday = at.getTime() === today;
            return (
              <th key={day} scope="col" aria-current={isToday ? "date" : undefined}>
                {HEAD.format(at)}
              </th>
            );
          })}
        </tr>
      </thead>
      <tbody>
        {timetables.map((one) => (
          <tr key={`${one.namespace}/${one.name}`}>
            <th scope="row">
              <Link to={`/models/${one.namespace}/${one.name}/schedule`}>{one.name}</Link>{" "}
              <span className="yard-quiet">{one.namespace}</span>
              <div className="yard-standing">
                <Standing of={one} />
              </div>
            </th>
            <td colSpan={7}>
              <span className="pf-v6-screen-reader">{timesOf(one)}</span>
              <div className="yard-track" aria-hidden="true">
                {one.shut.map(({ policy, start, stop }) => (
                  <span
                    key={policy + start}
                    className="yard-shut"
                    style={bar(Date.parse(start), Date.parse(stop))}
                    title={`Shut down by policy ${policy}`}
                  />
                ))}
                {one.runs.map(({ start, stop, note }) => (
                  <span
                    key={start}
                    className="yard-bar"
                    style={bar(Date.parse(start), Date.parse(stop))}
                    title={[`${new Date(start).toLocaleString()} to ${new Date(stop).toLocaleString()}`, note].join(
                      " ",
                    )}
                  />
                ))}
                {conflictsOf(one).map(({ policy, start, stop }) => (
                  <span
                    key={`${policy}${start}`}
                    className="yard-bar yard-bar--refused"
                    style={bar(start, stop)}
                    title={`Policy ${policy} keeps it shut down`}
                  />
                ))}
                {now > 0 && now < 100 && <span className="yard-today" style={{ insetInlineStart: `${now}%` }} />}
              </div>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
