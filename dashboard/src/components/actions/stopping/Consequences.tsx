/** What a stop ends, whom it cuts off, and who else is affected. */

import {
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
} from "@patternfly/react-core";
import type { ReactNode } from "react";
import { Link } from "react-router";

import type { InFlight } from "../../../api/inFlight";
import { useModels, type Model } from "../../../api/queries";
import { bytes, many } from "../../quantities";

export function Consequences({ model, now, force }: { model: Model; now: InFlight | null; force: boolean }) {
  const { instances_ready, resource_allocation: held } = model.status;
  const leading = useLeading(model);
  return (
    <DescriptionList isHorizontal isCompact aria-label="What it comes to">
      <Line term="In flight now">
        <span role="status">
          {now === null ? "not known" : many(now.requests, "request")}
          {now !== null && now.waiting > 0 && `, ${now.waiting} more waiting`}
          {now !== null && now.requests > 0 && (force ? ": all of them are cut off" : ": finished first")}
        </span>
      </Line>
      <Line term="Ends">{many(instances_ready, "ready instance")}</Line>
      <Line term="Frees">
        {bytes(held.memory_resident)} of memory{held.gpus > 0 && `, ${many(held.gpus, "GPU")}`}
      </Line>
      <Line term="Callers get">
        503, which says that it is stopped, at{" "}
        {model.status.endpoints.infer ?? model.status.endpoints.proxy ?? "its address"}
      </Line>
      {leading.length > 0 && (
        <Line term="Also affected">
          {leading.map(({ other, share }) => (
            <div key={other.uid}>
              <Link to={`/models/${other.namespace}/${other.name}`}>{other.name}</Link> sends {share} here; that stays
              with {other.name}
            </div>
          ))}
        </Line>
      )}
    </DescriptionList>
  );
}

function Line({ term, children }: { term: string; children: ReactNode }) {
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>{term}</DescriptionListTerm>
      <DescriptionListDescription>{children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}

/** Models whose traffic leads to this one, and how much of it. */
function useLeading(model: Model): { other: Model; share: string }[] {
  const others = (useModels().data ?? []).filter(
    ({ namespace, uid }) => namespace === model.namespace && uid !== model.uid,
  );
  return others.flatMap((other) => {
    const { split = [], shadow = [] } = other.spec.traffic ?? {};
    const weight = split.find((arm) => arm.model === model.name)?.weight;
    const copies = shadow.find((arm) => arm.model === model.name)?.percent;
    const shares = [
      weight !== undefined && `${weight} % of its requests`,
      copies !== undefined && `copies of ${copies} % of its requests`,
    ].filter(Boolean);
    return shares.length > 0 ? [{ other, share: shares.join(" and ") }] : [];
  });
}
