/** The last requests of this visit, each of which can be made again. */

import { Button, Card, CardBody, CardHeader, CardTitle } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import { Ago } from "../../components/Ago";
import type { Body } from "./body";
import { usePast } from "./history";
import { milliseconds } from "./outputs";

export function PastRequests({ use }: { use: (body: Body) => void }) {
  const past = usePast();
  if (past.length === 0) return null;
  return (
    <Card>
      <CardHeader>
        <CardTitle component="h2">Last requests</CardTitle>
      </CardHeader>
      <CardBody>
        <Table aria-label="Last requests" variant="compact">
          <Thead>
            <Tr>
              <Th>When</Th>
              <Th>Model</Th>
              <Th>Answer</Th>
              <Th>Status</Th>
              <Th>Latency</Th>
              <Th screenReaderText="Actions" />
            </Tr>
          </Thead>
          <Tbody>
            {past.map(({ id, at, body, calls }) => (
              <Tr key={id}>
                <Td dataLabel="When">
                  <Ago at={at} />
                </Td>
                {(["target", "verdict", "status", "ms"] as const).map((what) => (
                  <Td key={what} dataLabel={LABELS[what]} className="yard-number">
                    {calls.map((call, index) => (
                      <div key={index}>
                        {what === "ms" ? (call.ms === null ? "–" : milliseconds(call.ms)) : call[what] || "–"}
                      </div>
                    ))}
                  </Td>
                ))}
                <Td modifier="nowrap">
                  <Button variant="link" isInline onClick={() => use(body)}>
                    Use again
                  </Button>
                </Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      </CardBody>
    </Card>
  );
}

const LABELS = { target: "Model", verdict: "Answer", status: "Status", ms: "Latency" };
