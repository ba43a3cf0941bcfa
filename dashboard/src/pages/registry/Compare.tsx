/** Versions beside each other: their metrics, and what differs between two of them. */

import {
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  Content,
  Flex,
  FlexItem,
  Label,
  Skeleton,
} from "@patternfly/react-core";
import { CheckIcon } from "@patternfly/react-icons";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useState } from "react";

import { Failed } from "../../components/Failed";
import { PickOne, PickSeveral } from "../../components/Pick";
import { bytes } from "../../components/quantities";
import { DiffView } from "./Diff";
import { difference, number, rowsOf } from "./metrics";
import { useVersions, type Place, type Version } from "./queries";

const [FIRST, MOST] = [3, 6];

export function Compare({ place }: { place: Place }) {
  const versions = useVersions(place);
  const [picked, pick] = useState<string[] | null>(null);
  if (versions.error && !versions.data) {
    return <Failed error={versions.error} retry={() => void versions.refetch()} />;
  }
  if (!versions.data) return <Skeleton height="20rem" screenreaderText="Loading versions" />;
  if (versions.data.length < 2)
    return <Content component="p">There is nothing to compare with yet: push another version.</Content>;
  const names = picked ?? versions.data.slice(0, FIRST).map(({ version }) => version);
  // The oldest is what the others are measured by.
  const chosen = versions.data.filter(({ version }) => names.includes(version)).reverse();
  return (
    <Flex direction={{ default: "column" }} rowGap={{ default: "rowGapMd" }}>
      <Card>
        <CardHeader
          actions={{
            hasNoOffset: true,
            actions: (
              <PickSeveral
                label="Versions"
                values={names}
                onPick={pick}
                choices={versions.data.map(({ version }) => ({
                  value: version,
                  words: version,
                  isDisabled: names.length >= MOST && !names.includes(version),
                }))}
              />
            ),
          }}
        >
          <CardTitle component="h2">Metrics</CardTitle>
        </CardHeader>
        <CardBody>
          {chosen.length < 2 ? (
            <Content component="p">Choose two to six versions.</Content>
          ) : (
            <Metrics versions={chosen} />
          )}
        </CardBody>
      </Card>
      <Differences place={place} versions={versions.data} />
    </Flex>
  );
}

function Metrics({ versions }: { versions: Version[] }) {
  const rows = rowsOf(versions);
  return (
    <>
      <Table aria-label="Metrics of the versions" variant="compact">
        <Thead>
          <Tr>
            <Th>Metric</Th>
            {versions.map(({ version }) => (
              <Th key={version}>{version}</Th>
            ))}
          </Tr>
        </Thead>
        <Tbody>
          {rows.map(({ metric, isLowerBetter, values, best, differences }) => (
            <Tr key={metric}>
              <Td dataLabel="Metric">
                {metric}
                <div className="yard-quiet">{isLowerBetter ? "lower is better" : "higher is better"}</div>
              </Td>
              {values.map((value, index) => (
                <Td key={index} dataLabel={versions[index]?.version} className="yard-number">
                  {value === null ? "–" : best[index] ? <strong>{number(value)}</strong> : number(value)}{" "}
                  {best[index] && (
                    <Label isCompact color="green" icon={<CheckIcon />}>
                      best
                    </Label>
                  )}
                  {differences[index] != null && <div className="yard-quiet">{difference(differences[index])}</div>}
                </Td>
              ))}
            </Tr>
          ))}
          <Tr>
            <Td dataLabel="Metric">Size</Td>
            {versions.map(({ version, size }) => (
              <Td key={version} dataLabel={version} className="yard-number">
                {bytes(size)}
              </Td>
            ))}
          </Tr>
        </Tbody>
      </Table>
      <Content component="small">
        {rows.length === 0
          ? "None of them has metrics. They are given with a push (--metric accuracy=0.96) or later."
          : `Differences are from ${versions[0]?.version}. Which way is better is told by the metric's name.`}
      </Content>
    </>
  );
}

function Differences({ place, versions }: { place: Place; versions: Version[] }) {
  const [from, setFrom] = useState(versions[1]?.version ?? "");
  const [to, setTo] = useState(versions[0]?.version ?? "");
  const choices = versions.map(({ version }) => ({ value: version, words: version }));
  return (
    <Card>
      <CardHeader
        actions={{
          hasNoOffset: true,
          actions: (
            <Flex columnGap={{ default: "columnGapSm" }} alignItems={{ default: "alignItemsCenter" }}>
              <FlexItem>
                <PickOne label="From" value={from} onPick={setFrom} choices={choices} />
              </FlexItem>
              <FlexItem aria-hidden>→</FlexItem>
              <FlexItem>
                <PickOne label="To" value={to} onPick={setTo} choices={choices} />
              </FlexItem>
            </Flex>
          ),
        }}
      >
        <CardTitle component="h2">What differs</CardTitle>
      </CardHeader>
      <CardBody>
        <DiffView place={place} from={from} to={to} />
      </CardBody>
    </Card>
  );
}
