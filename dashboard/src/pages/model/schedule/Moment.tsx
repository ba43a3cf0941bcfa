/** A time by the clock of a schedule's zone: "Mon 23 Nov 08:00 Europe/Berlin". */

import { dateOf } from "../../../components/schedule/days";

const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });

export function Moment({ local, zone }: { local: string; zone: string }) {
  return (
    <div className="yard-quiet yard-number">
      {DAY.format(new Date(dateOf(local)))} {local.slice(11, 16)} {zone}
    </div>
  );
}
