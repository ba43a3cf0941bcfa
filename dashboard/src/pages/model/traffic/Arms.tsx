/** How the requests are shared among the arms of a model's traffic, and what came of them. */

import { Card, CardBody, CardHeader, CardTitle, Label } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Link } from "react-router";

import type { Schemas } from "../../../api/client";
import type { Model } from "../../../api/queries";
import { duration } from "../../../components/Ago";

type Arm = Schemas["ArmReport"];

const TITLES: Record<Arm["kind"], string> = {
  revision: "Canary: requests by revision",
  model: "Split: requests by model",
  shadow: "Shadows: copies of requests",
};

/** One card for each kind of arms: a canary's, a split's, and its shadows. */
export function Arms({ model, arms, kind }: { model: Model; arms: Arm[]; kind: Arm["kind"] }) {
  return (
    <Card>
      <CardHeader>
        <CardTitle component="h2">{TITLES[kind]}</CardTitle>
      </CardHeader>
      <CardBody>
        <Picture arms={arms} kind={kind} />
        <Table aria-label={TITLES[kind]} variant="compact" gridBreakPoint="grid-xl">
          <Thead>
            <Tr>
              <Th>{kind === "revision" ? "Revision" : "Model"}</Th>
              <Th modifier="nowrap">Share wanted</Th>
              <Th modifier="nowrap">Share got</Th>
              <Th modifier="nowrap">Requests</Th>
              <Th modifier="nowrap">Errors</Th>
              <Th modifier="nowrap">p50</Th>
              <Th modifier="nowrap">p95</Th>
              <Th modifier="nowrap">p99</Th>
              <Th width={35}>Compared with the front</Th>
            </Tr>
          </Thead>
          <Tbody>
            {arms.map((arm) => (
              <Row key={arm.name} model={model} arm={arm} />
            ))}
          </Tbody>
        </Table>
      </CardBody>
    </Card>
  );
}

/** The shares as one bar; of shadows, which take nothing from anybody, one bar each. */
function Picture({ arms, kind }: { arms: Arm[]; kind: Arm["kind"] }) {
  const bars = kind === "shadow" ? arms.map((arm) => [arm]) : [arms];
  return (
    <>
      {bars.map((bar, index) => (
        <div
          key={index}
          className="yard-shares"
          role="img"
          aria-label={bar.map((arm) => `${arm.name}: ${arm.share_wanted} per cent`).join(", ")}
        >
          {bar
            .filter((arm) => arm.share_wanted > 0)
            .map((arm, place) => (
              <span
                key={arm.name}
                className={`yard-share yard-share--${place % 4}${arm.serving ? "" : " yard-share--absent"}`}
                style={{ flexBasis: `${arm.share_wanted}%` }}
              >
                {arm.share_wanted >= 8 && `${kind === "revision" ? "Revision " : ""}${arm.name}: ${arm.share_wanted} %`}
              </span>
            ))}
        </div>
      ))}
    </>
  );
}

function Row({ model, arm }: { model: Model; arm: Arm }) {
  const missed = Object.entries(arm.missed).filter(([, count]) => count > 0);
  return (
    <Tr>
      <Td dataLabel={arm.kind === "revision" ? "Revision" : "Model"}>
        {arm.kind === "revision" || arm.name === model.name ? (
          arm.name
        ) : (
          <Link to={`/models/${model.namespace}/${arm.name}`}>{arm.name}</Link>
        )}{" "}
        {arm.front && (
          <Label isCompact color="blue">
            Front
          </Label>
        )}
        {!arm.serving && (
          <div>
            <Label isCompact color="orange">
              Does not serve
            </Label>
            {!arm.front && <div className="yard-quiet">its share stays with the front</div>}
          </div>
        )}
      </Td>
      <Td dataLabel="Share wanted" className="yard-number">
        {arm.share_wanted} %
      </Td>
      <Td dataLabel="Share got" className="yard-number">
        {arm.share_actual === null ? "–" : `${arm.share_actual.toFixed(1)} %`}
      </Td>
      <Td dataLabel="Requests" className="yard-number">
        {arm.requests.toLocaleString("en")}
        {missed.map(([why, count]) => (
          <div key={why} className="yard-quiet">
            {count.toLocaleString("en")} missed: {why.replaceAll("_", " ")}
          </div>
        ))}
      </Td>
      <Td dataLabel="Errors" className="yard-number">
        {arm.errors.toLocaleString("en")}
        {arm.error_rate !== null && <div className="yard-quiet">{percent(arm.error_rate)}</div>}
      </Td>
      <Td dataLabel="p50" className="yard-number">
        {time(arm.p50)}
      </Td>
      <Td dataLabel="p95" className="yard-number">
        {time(arm.p95)}
      </Td>
      <Td dataLabel="p99" className="yard-number">
        {time(arm.p99)}
      </Td>
      <Td dataLabel="Compared with the front">
        {arm.comparison ? (
          <Comparison found={arm.comparison} />
        ) : (
          <span className="yard-quiet">the others are compared with it</span>
        )}
      </Td>
    </Tr>
  );
}

function Comparison({ found }: { found: Schemas["ArmComparison"] }) {
  if (!found.enough) return <span className="yard-quiet">{found.verdict}</span>;
  const { error_difference: errors, error_low: low, error_high: high, error_p, slower_chance, latency_p } = found;
  return (
    <>
      {found.verdict}
      {errors !== null && (
        <div className="yard-quiet yard-number">
          Errors {signed(errors)}
          {low !== null && high !== null && ` (95 %: ${signed(low)} to ${signed(high)})`}
          {error_p !== null && `, p = ${error_p.toPrecision(2)}`}
        </div>
      )}
      {slower_chance !== null && (
        <div className="yard-quiet yard-number">
          Slower in {percent(slower_chance)} of pairs (50 %: neither)
          {latency_p !== null && `, p = ${latency_p.toPrecision(2)}`}
        </div>
      )}
    </>
  );
}

const time = (seconds: number | null) => (seconds === null ? "–" : duration(seconds));
const percent = (share: number) => `${(100 * share).toFixed(share > 0 && share < 0.01 ? 2 : 1)} %`;
const signed = (share: number) => `${share > 0 ? "+" : ""}${(100 * share).toFixed(2)} points`;
