/** The same as the week, as a table: for small screens, and for those who have tables read to them. */

import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Link } from "react-router";

import type { Timetable } from "../../api/schedules";
import { Ago } from "../../components/Ago";
import { Standing } from "./Standing";
import { timesOf } from "./words";

export function TimetableTable({ timetables }: { timetables: Timetable[] }) {
  return (
    <Table aria-label="Schedules" variant="compact">
      <Thead>
        <Tr>
          <Th>Model</Th>
          <Th>Next</Th>
          <Th>Runs in this week</Th>
          <Th>Standing</Th>
        </Tr>
      </Thead>
      <Tbody>
        {timetables.map((one) => (
          <Tr key={`${one.namespace}/${one.name}`}>
            <Td dataLabel="Model">
              <Link to={`/models/${one.namespace}/${one.name}/schedule`}>{one.name}</Link>
              <div className="yard-quiet">{one.namespace}</div>
            </Td>
            <Td dataLabel="Next">
              {one.next_action ? (
                <>
                  {one.next_action.action === "start" ? "Start" : "Stop"} <Ago at={one.next_action.at} />
                </>
              ) : (
                "–"
              )}
            </Td>
            <Td dataLabel="Runs in this week" className="yard-number">
              {timesOf(one)}
              <div className="yard-quiet">Schedule of {one.timezone}</div>
            </Td>
            <Td dataLabel="Standing">
              <div className="yard-standing">
                <Standing of={one} />
                {one.failure && <div className="yard-quiet">{one.failure.message}</div>}
              </div>
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
