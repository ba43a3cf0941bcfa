/** What the policies come to for one model: each rule, whether it holds, and what it yields to. */

import { Alert, Card, CardBody, CardHeader, CardTitle, Label, Skeleton, type LabelProps } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import type { Schemas } from "../../../api/client";
import type { Model } from "../../../api/queries";
import { Ago } from "../../../components/Ago";
import { usePolicies } from "../../../components/actions/stopping/protection";
import { ErrorAlert } from "../../../components/Failed";

type Ruling = Schemas["PolicyRuling"];

const STANDINGS: Record<Ruling["standing"], { words: string; color: NonNullable<LabelProps["color"]> }> = {
  in_force: { words: "In force", color: "green" },
  warns: { words: "Warns", color: "orange" },
  yields: { words: "Yields to another", color: "grey" },
  shielded: { words: "Stops nothing here", color: "grey" },
  overridden: { words: "Overridden", color: "purple" },
};

export function Policies({ model }: { model: Model }) {
  const policies = usePolicies(model);
  const found = policies.data;
  return (
    <Card isFullHeight>
      <CardHeader>
        <CardTitle component="h2">Policies</CardTitle>
      </CardHeader>
      <CardBody>
        {policies.error && <ErrorAlert title="The policies could not be read" error={policies.error} />}
        {!found && !policies.error && <Skeleton height="8rem" screenreaderText="Loading policies" />}
        {found?.rulings.length === 0 && <p className="yard-quiet">No policy is for this model.</p>}
        {found?.stops_at && (
          <p>
            Stops <Ago at={found.stops_at} />
            {found.stops_because && `: ${found.stops_because}`}
          </p>
        )}
        {found?.closed_until && (
          <p>
            It is shut down and cannot be started until <Ago at={found.closed_until} />.
          </p>
        )}
        {found?.findings.map(({ policy, rule, refused, message }) => (
          <Alert
            key={policy + rule}
            variant={refused ? "danger" : "warning"}
            isInline
            component="p"
            isPlain
            title={refused ? `Policy ${policy} would refuse its next start` : `Policy ${policy} warns`}
          >
            {message}
          </Alert>
        ))}
        {found && found.rulings.length > 0 && (
          <Table aria-label="Rules for this model" variant="compact">
            <Thead>
              <Tr>
                <Th width={60}>Rule</Th>
                <Th>Holds</Th>
              </Tr>
            </Thead>
            <Tbody>
              {found.rulings.map((ruling) => (
                <Rule key={`${ruling.namespace}/${ruling.policy}/${ruling.rule}`} ruling={ruling} />
              ))}
            </Tbody>
          </Table>
        )}
      </CardBody>
    </Card>
  );
}

function Rule({ ruling }: { ruling: Ruling }) {
  const { words, color } = STANDINGS[ruling.standing];
  return (
    <Tr>
      <Td dataLabel="Rule">
        {ruling.rule.replaceAll("_", " ")}
        {ruling.value && `: ${ruling.value}`}
        <div className="yard-quiet">
          {ruling.policy}, {ruling.namespace ? `of namespace ${ruling.namespace}` : "of the whole installation"}
        </div>
      </Td>
      <Td dataLabel="Holds">
        <Label color={color} isCompact>
          {words}
        </Label>
        {ruling.why && <div className="yard-quiet">{ruling.why}</div>}
        {ruling.override && (
          <div className="yard-quiet">
            until <Ago at={ruling.override.expires_at} />, by {ruling.override.by}: {ruling.override.reason}
          </div>
        )}
      </Td>
    </Tr>
  );
}
