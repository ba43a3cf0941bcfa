/** Where the requests of a model go: a rollout and its canary, a split, shadows. */

import { EmptyState, EmptyStateBody, Flex, FlexItem, Skeleton } from "@patternfly/react-core";
import { RouteIcon } from "@patternfly/react-icons";
import { useRef } from "react";
import { Link } from "react-router";

import { useInFlight } from "../../../api/inFlight";
import { keys, queryClient, type Model } from "../../../api/queries";
import { ErrorAlert } from "../../../components/Failed";
import { useTraffic } from "../parts";
import { Arms } from "./Arms";
import { RolloutCard } from "./RolloutCard";

// Milliseconds between two looks at the numbers while requests come.
const LOOK = 2_000;

export default function TrafficTab({ model }: { model: Model }) {
  const traffic = useTraffic(model);
  const looked = useRef(0);
  const arms = traffic.data?.arms ?? [];
  // Numbers grow without an event: that requests come and go says when to look again.
  useInFlight(model, {
    isOn: arms.length > 0,
    told: () => {
      if (Date.now() - looked.current < LOOK) return;
      looked.current = Date.now();
      void queryClient.invalidateQueries({ queryKey: keys.of(model.namespace, model.name, "traffic") });
    },
  });
  const { rollout } = model.status;
  if (traffic.error) return <ErrorAlert title="The traffic could not be read" error={traffic.error} />;
  if (!traffic.data) return <Skeleton height="16rem" screenreaderText="Loading traffic" />;
  if (!rollout && arms.length === 0) {
    return (
      <EmptyState icon={RouteIcon} titleText="All requests go the same way" headingLevel="h2">
        <EmptyStateBody>
          No rollout is under way, and the spec has no split and no shadow. An{" "}
          <Link to={`/models/${model.namespace}/${model.name}/update`}>update</Link> begins a rollout, as a canary where{" "}
          <code>rollout.canary</code> says so; <code>traffic</code> sends a share of the requests, or copies of them, to
          other models.
        </EmptyStateBody>
      </EmptyState>
    );
  }
  return (
    <Flex direction={{ default: "column" }} gap={{ default: "gapMd" }} alignItems={{ default: "alignItemsStretch" }}>
      {rollout && (
        <FlexItem>
          <RolloutCard model={model} judgement={traffic.data.judgement} />
        </FlexItem>
      )}
      {(["revision", "model", "shadow"] as const).map((kind) => {
        const found = arms.filter((arm) => arm.kind === kind);
        return (
          found.length > 0 && (
            <FlexItem key={kind}>
              <Arms model={model} arms={found} kind={kind} />
            </FlexItem>
          )
        );
      })}
      {arms.length > 0 && !traffic.data.counted && (
        <p className="yard-quiet">The front door has not told of any request yet.</p>
      )}
    </Flex>
  );
}
