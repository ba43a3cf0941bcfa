/** How many models are in each state; each leads to those models. */

import { Card, CardBody, Skeleton } from "@patternfly/react-core";
import { Link } from "react-router";

import type { Model } from "../../api/queries";
import { STATE_ORDER, StateLabel, type State } from "../../components/StateLabel";

export function ByState({ models, isLoading }: { models: Model[]; isLoading: boolean }) {
  const counts = new Map<State, number>();
  for (const { status } of models) counts.set(status.state, (counts.get(status.state) ?? 0) + 1);
  // States that last are always there, so that nothing jumps; those that pass come and go.
  const shown = STATE_ORDER.filter((state) => counts.has(state) || LASTING.has(state));
  return (
    <Card>
      <CardBody>
        <nav aria-label="Models by state" className="yard-figures">
          <Link to="/models" className="yard-tile">
            <span className="yard-figure">{isLoading ? <Skeleton width="2rem" /> : models.length}</span>
            <span>{models.length === 1 ? "Model" : "Models"}</span>
          </Link>
          {shown.map((state) => (
            <Link key={state} to={`/models?state=${state}`} className="yard-tile">
              <span className="yard-figure">{isLoading ? <Skeleton width="2rem" /> : (counts.get(state) ?? 0)}</span>
              <StateLabel state={state} />
            </Link>
          ))}
        </nav>
      </CardBody>
    </Card>
  );
}

const LASTING: ReadonlySet<State> = new Set(["running", "queued", "idle", "stopped", "error"]);
