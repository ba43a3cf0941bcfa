/** What schedules start and stop next. */

import { Label, Skeleton } from "@patternfly/react-core";
import { Link } from "react-router";

import type { Timetable } from "../../api/schedules";
import { Ago } from "../../components/Ago";
import { ErrorAlert } from "../../components/Failed";

const SHOWN = 6;
const AT = new Intl.DateTimeFormat("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit" });

interface Props {
  timetables: Timetable[] | undefined;
  error: unknown;
  count?: number;
}

export function ComingUp({ timetables, error, count = SHOWN }: Props) {
  if (error && !timetables) return <ErrorAlert title="What is coming is not known" error={error} />;
  if (!timetables) return <Skeleton height="6rem" screenreaderText="Loading what is coming" />;
  const coming = timetables
    .flatMap((one) => (one.next_action ? [{ one, next: one.next_action }] : []))
    .sort((a, b) => Date.parse(a.next.at) - Date.parse(b.next.at));
  if (coming.length === 0) {
    return (
      <p className="yard-quiet">
        Nothing: no schedule is to start or stop a model. A model&rsquo;s page has its schedule.
      </p>
    );
  }
  return (
    <>
      <ol className="yard-coming">
        {coming.slice(0, count).map(({ one, next }) => (
          <li key={`${one.namespace}/${one.name}`}>
            <span className="yard-quiet yard-number">
              <Ago at={next.at} />
            </span>
            <span>
              <Label isCompact color={next.action === "start" ? "green" : "grey"}>
                {next.action === "start" ? "Start" : "Stop"}
              </Label>{" "}
              <Link to={`/models/${one.namespace}/${one.name}/schedule`}>{one.name}</Link>
              {one.status === "failed" && (
                <>
                  {" "}
                  <Label isCompact status="danger">
                    Its last action failed
                  </Label>
                </>
              )}
            </span>
            <span className="yard-quiet yard-number">{AT.format(new Date(next.at))}</span>
          </li>
        ))}
      </ol>
      {coming.length > count && <Link to="/schedules">All {coming.length}</Link>}
    </>
  );
}
