/** The same as the charts, as a table: for those who cannot see them, and for exact numbers. The newest first. */

import { Card, CardBody, GridItem } from "@patternfly/react-core";
import {
  Caption,
  InnerScrollContainer,
  OuterScrollContainer,
  Table,
  Tbody,
  Td,
  Th,
  Thead,
  Tr,
} from "@patternfly/react-table";

import { bytes, many } from "../../../components/quantities";
import { amount, latency } from "../../../components/rates";
import type { ModelHistory } from "./history";

const COLUMNS = ["Time", "Requests", "Refused", "Failed", "p50", "p95", "p99", "In flight", "Instances", "Memory"];

function told<T>(value: T | null | undefined, words: (value: T) => string): string {
  return value === null || value === undefined ? "–" : words(value);
}

function span(seconds: number): string {
  if (seconds < 60) return many(seconds, "second");
  return seconds < 3600 ? many(seconds / 60, "minute") : many(seconds / 3600, "hour");
}

export function Numbers({ history }: { history: ModelHistory }) {
  const places = history.times.map((_, at) => history.times.length - 1 - at);
  return (
    <GridItem span={12}>
      <Card>
        <CardBody>
          <OuterScrollContainer className="yard-numbers">
            <InnerScrollContainer>
              <Table variant="compact" isStickyHeader>
                <Caption>Each row is {span(history.step)}</Caption>
                <Thead>
                  <Tr>
                    {COLUMNS.map((words) => (
                      <Th key={words} modifier="nowrap">
                        {words}
                      </Th>
                    ))}
                  </Tr>
                </Thead>
                <Tbody className="yard-number">
                  {places.map((at) => (
                    <Tr key={history.times[at]}>
                      <Td modifier="nowrap">{new Date((history.times[at] ?? 0) * 1000).toLocaleString()}</Td>
                      <Td>{history.requests[at]}</Td>
                      <Td>{history.rejected[at]}</Td>
                      <Td>{history.errors[at]}</Td>
                      <Td modifier="nowrap">{told(history.p50[at], latency)}</Td>
                      <Td modifier="nowrap">{told(history.p95[at], latency)}</Td>
                      <Td modifier="nowrap">{told(history.p99[at], latency)}</Td>
                      <Td>{told(history.in_flight[at], amount)}</Td>
                      <Td>{told(history.instances[at], String)}</Td>
                      <Td modifier="nowrap">{told(history.memory[at], bytes)}</Td>
                    </Tr>
                  ))}
                </Tbody>
              </Table>
            </InnerScrollContainer>
          </OuterScrollContainer>
        </CardBody>
      </Card>
    </GridItem>
  );
}
