/** The newest events, one line each. */

import { Skeleton } from "@patternfly/react-core";
import { Link } from "react-router";

import type { Event } from "../../api/queries";
import { Ago } from "../../components/Ago";

export function RecentEvents({ events }: { events: Event[] | undefined }) {
  if (!events) return <Skeleton screenreaderText="Loading events" />;
  if (events.length === 0) return <p className="yard-quiet">Nothing has happened yet.</p>;
  return (
    <ol className="yard-events">
      {events.map((event) => (
        <li key={event.id}>
          <span className="yard-quiet yard-number">
            <Ago at={event.at} />
          </span>
          <span>
            {event.model && <Link to={`/models/${event.namespace}/${event.model}`}>{event.model}</Link>} {event.message}
          </span>
          <span className="yard-quiet">{event.actor}</span>
        </li>
      ))}
    </ol>
  );
}
