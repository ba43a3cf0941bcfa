/** What all models are asked together: rate, failures and latency of the last hour. */

import { Card, CardBody, CardHeader, CardTitle, Skeleton } from "@patternfly/react-core";
import { useQuery } from "@tanstack/react-query";

import { api, ask, type Schemas } from "../../api/client";
import { ErrorAlert } from "../../components/Failed";
import { latency, percent, perSecond } from "../../components/rates";
import { Sparkline } from "./Sparkline";

type TrafficHistory = Schemas["TrafficHistory"];

// Milliseconds: the running minute is told as it grows.
const EVERY = 10_000;
// Points that the figures are of.
const RECENT = 2;

export function Traffic({ namespace }: { namespace: string }) {
  const told = useQuery({
    queryKey: ["metrics", namespace],
    queryFn: () => ask(api.GET("/api/v1/metrics", { params: { query: namespace ? { namespace } : {} } })),
    // Asked for again by itself, as counts that grow with each request are no changes that a stream could tell; never
    // while nobody sees it.
    refetchInterval: EVERY,
    refetchIntervalInBackground: false,
  });
  return (
    <Card>
      <CardHeader>
        <CardTitle component="h2">Requests of the last hour</CardTitle>
      </CardHeader>
      <CardBody>
        {told.data ? (
          <Figures history={told.data} />
        ) : told.error ? (
          <ErrorAlert error={told.error} title="The metrics could not be read" />
        ) : (
          <Skeleton height="4.5rem" screenreaderText="Loading" />
        )}
      </CardBody>
    </Card>
  );
}

function Figures({ history }: { history: TrafficHistory }) {
  const { requests, errors, seconds, p95, step } = history;
  const sum = (values: number[]) => values.reduce((all, value) => all + value, 0);
  const recent = (values: number[]) => sum(values.slice(-RECENT));
  // A point that has hardly begun says nothing yet.
  const whole = (seconds.at(-1) ?? step) < step / 2 ? -1 : undefined;
  const all = sum(requests);
  const failed = sum(errors);
  const slow = p95.slice(-RECENT).findLast((value) => value !== null);
  return (
    <div className="yard-traffic">
      <Figure
        words="now"
        figure={perSecond(recent(requests) / Math.max(recent(seconds), 1))}
        values={requests.map((count, at) => count / (seconds[at] || 1)).slice(0, whole)}
        label={`${all} requests in the last hour`}
      />
      <Figure
        words="failed"
        figure={all ? percent(failed / all) : "–"}
        values={errors.map((count, at) => count / (requests[at] || 1)).slice(0, whole)}
        label={`${failed} of ${all} requests failed`}
        isDanger={failed > 0}
      />
      <Figure
        words="p95 latency now"
        figure={slow === null || slow === undefined ? "–" : latency(slow)}
        values={p95.slice(0, whole)}
        label="Latency below which 95 of 100 requests stayed"
      />
    </div>
  );
}

interface FigureProps {
  words: string;
  figure: string;
  values: (number | null)[];
  label: string;
  isDanger?: boolean;
}

function Figure({ words, figure, values, label, isDanger = false }: FigureProps) {
  return (
    <div className="yard-trend">
      <div>
        <div className="yard-figure">{figure}</div>
        <div className="yard-quiet">{words}</div>
      </div>
      <Sparkline values={values} label={label} isDanger={isDanger} />
    </div>
  );
}
