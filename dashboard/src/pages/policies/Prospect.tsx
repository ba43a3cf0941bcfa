/** What models come to with a policy, as it is written now. */

import { Label } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Link } from "react-router";

import { ErrorAlert } from "../../components/Failed";
import { many } from "../../components/quantities";
import { LoadingRows } from "../../components/Rows";
import type { ModelPolicies } from "./data";
import { StandingLabel, Stops } from "./Rulings";
import { RULES } from "./words";

// More than these nobody reads here.
const SHOWN = 50;

export function Prospect({ found, error }: { found: ModelPolicies[] | undefined; error: unknown }) {
  if (error) return <ErrorAlert title="What it would do is not known" error={error} />;
  if (!found) return <LoadingRows words="Asking what it would do" />;
  const stopped = found.filter((one) => one.closed_until !== null && one.stops_at !== null).length;
  return (
    <>
      <p role="status">
        It is for {many(found.length, "model")}
        {stopped > 0 && `; ${stopped} of them would be stopped now`}.
      </p>
      {found.length > 0 && (
        <Table aria-label="What it would do" variant="compact">
          <Thead>
            <Tr>
              <Th>Model</Th>
              <Th>What it comes to</Th>
            </Tr>
          </Thead>
          <Tbody>
            {found.slice(0, SHOWN).map((one) => (
              <Tr key={`${one.namespace}/${one.name}`}>
                <Td dataLabel="Model">
                  <Link to={`/models/${one.namespace}/${one.name}`}>{one.name}</Link>
                  <div className="yard-quiet">{one.namespace}</div>
                </Td>
                <Td dataLabel="What it comes to">
                  {one.rulings.map((ruling) => (
                    <div key={ruling.rule}>
                      <StandingLabel standing={ruling.standing} /> {RULES[ruling.rule]}: {ruling.value}
                      {ruling.why && <span className="yard-quiet"> {ruling.why}</span>}
                    </div>
                  ))}
                  {one.rulings.length === 0 && <Label isCompact>Nothing</Label>}
                  <Stops of={one} />
                </Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
      {found.length > SHOWN && <p className="yard-quiet">And {found.length - SHOWN} more.</p>}
    </>
  );
}
