/** The charts of one model, all of the same time. */

import { Card, CardBody, CardHeader, CardTitle, GridItem } from "@patternfly/react-core";
import { useMemo, type ReactNode } from "react";

import { Chart, type Line } from "../../../components/Chart";
import type { Mark } from "../../../components/marks";
import { bytes } from "../../../components/quantities";
import { amount, latency, perSecond } from "../../../components/rates";
import { rates, total, type ModelHistory } from "./history";

export function Charts({ history }: { history: ModelHistory }) {
  const marks = useMemo(
    (): Mark[] => history.marks.map(({ at, kind }) => ({ at: Date.parse(at) / 1000, kind })),
    [history],
  );
  const { requests, latencies, load, memory } = useMemo(() => linesOf(history), [history]);
  const common = { times: history.times, marks };
  const reached = history.p50.some((value) => value !== null);
  const isHeld = history.memory.some((value) => value !== null);
  return (
    <>
      <Box title="Requests">
        <Chart
          {...common}
          label={`Requests a second: ${total(history.requests)} in all, ${total(history.errors)} failed`}
          lines={requests}
          words={perSecond}
          namesMarks
        />
      </Box>
      <Box title="Latency" missing={reached ? "" : "No request reached an instance in this time."}>
        <Chart {...common} label="Latency of requests" lines={latencies} words={latency} />
      </Box>
      <Box title="In flight and instances">
        <Chart {...common} label="Requests in flight, and instances" lines={load} words={amount} />
      </Box>
      <Box title="Memory" missing={isHeld ? "" : "Not known of this time: it had no instances, or nobody looked."}>
        <Chart {...common} label="Memory of the instances" lines={memory} words={bytes} isBinary />
      </Box>
    </>
  );
}

function linesOf({ seconds, ...of }: ModelHistory): Record<"requests" | "latencies" | "load" | "memory", Line[]> {
  const answered = of.requests.map((all, at) => all - (of.errors[at] ?? 0) - (of.rejected[at] ?? 0));
  return {
    requests: [
      { words: "Answered", values: rates(answered, seconds), color: "main", filled: true },
      { words: "Refused (4xx)", values: rates(of.rejected, seconds), color: "third", dashed: true },
      { words: "Failed (5xx)", values: rates(of.errors, seconds), color: "danger" },
    ],
    latencies: [
      { words: "p50", values: of.p50, color: "main" },
      { words: "p95", values: of.p95, color: "second" },
      { words: "p99", values: of.p99, color: "third", dashed: true },
    ],
    load: [
      { words: "In flight", values: of.in_flight, color: "main", filled: true },
      { words: "Instances", values: of.instances, color: "second", stepped: true, dashed: true },
    ],
    memory: [{ words: "Memory", values: of.memory, color: "main", filled: true, stepped: true }],
  };
}

function Box({ title, missing, children }: { title: string; missing?: string; children: ReactNode }) {
  return (
    <GridItem span={12} xl={6}>
      <Card isFullHeight>
        <CardHeader>
          <CardTitle component="h2">{title}</CardTitle>
        </CardHeader>
        <CardBody>{missing ? <p className="yard-quiet">{missing}</p> : children}</CardBody>
      </Card>
    </GridItem>
  );
}
