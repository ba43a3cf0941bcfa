/** The rollout that is under way: from what to what, how far, and what can be done about it. */

import {
  Button,
  Card,
  CardBody,
  CardFooter,
  CardHeader,
  CardTitle,
  Flex,
  Label,
  Progress,
  ProgressMeasureLocation,
  ProgressStep,
  ProgressStepper,
  Tooltip,
} from "@patternfly/react-core";
import { useState } from "react";

import type { Schemas } from "../../../api/client";
import type { Model } from "../../../api/queries";
import { Ago } from "../../../components/Ago";
import { SteerDialog } from "./SteerDialog";
import { STEERING, useSteeringRefusal, type Steer } from "./steering";

type Rollout = Schemas["RolloutStatus"];

export function RolloutCard({ model, judgement }: { model: Model; judgement: string | null }) {
  const { rollout, instances, instances_desired: desired } = model.status;
  const [asked, ask] = useState<Steer | null>(null);
  const refusal = useSteeringRefusal(model);
  if (!rollout) return null;
  const old = instances.filter(({ generation }) => generation === rollout.from && rollout.from !== rollout.to).length;
  const steps: Steer[] = [rollout.paused ? "resume" : "pause", "promote", "percent", "abort", "cancel", "force"];
  return (
    <Card>
      <CardHeader>
        <Flex alignItems={{ default: "alignItemsCenter" }} gap={{ default: "gapSm" }}>
          <CardTitle component="h2">
            {rollout.from === rollout.to
              ? `Revision ${rollout.to}, launched anew`
              : `Revision ${rollout.from} → ${rollout.to}`}
          </CardTitle>
          {rollout.paused && (
            <Label color="orange" isCompact>
              Paused
            </Label>
          )}
          {rollout.forced && (
            <Label color="red" isCompact>
              Forced
            </Label>
          )}
        </Flex>
      </CardHeader>
      <CardBody>
        <div role="status">
          <Progress
            title={`${rollout.ready} of ${desired} new instances ready${old ? `, ${old} old left` : ""}`}
            aria-label="New instances that are ready"
            value={desired > 0 ? Math.min(100, (rollout.ready / desired) * 100) : 0}
            measureLocation={ProgressMeasureLocation.none}
            size="sm"
            helperText={
              <span className="yard-quiet">
                Strategy {rollout.strategy || "not chosen yet"}, begun <Ago at={rollout.began_at} />
              </span>
            }
          />
        </div>
        {rollout.canary && <Steps model={model} canary={rollout.canary} judgement={judgement} />}
      </CardBody>
      <CardFooter>
        <Flex gap={{ default: "gapSm" }}>
          {steps.map((steer) => {
            const why = refusal(steer);
            const button = (
              <Button
                variant="secondary"
                isDanger={STEERING[steer].isDanger}
                size="sm"
                isAriaDisabled={why !== null}
                onClick={() => ask(steer)}
              >
                {STEERING[steer].words}…
              </Button>
            );
            return why === null ? (
              <span key={steer}>{button}</span>
            ) : (
              <Tooltip key={steer} content={why}>
                {button}
              </Tooltip>
            );
          })}
        </Flex>
      </CardFooter>
      {asked && <SteerDialog model={model} rollout={rollout} steer={asked} close={() => ask(null)} />}
    </Card>
  );
}

function Steps({
  model,
  canary,
  judgement,
}: {
  model: Model;
  canary: NonNullable<Rollout["canary"]>;
  judgement: string | null;
}) {
  const planned = model.spec.rollout?.canary?.steps ?? [];
  // Set by hand it may be between two of them.
  const steps = [...new Set([...planned, canary.wanted])].sort((a, b) => a - b);
  return (
    <>
      <ProgressStepper aria-label="Steps of the canary" isCenterAligned className="yard-canary">
        {steps.map((step) => {
          const isNow = step === canary.wanted;
          return (
            <ProgressStep
              key={step}
              id={`canary-${step}`}
              titleId={`canary-${step}-title`}
              variant={isNow ? "info" : step < canary.wanted ? "success" : "pending"}
              isCurrent={isNow}
              aria-label={isNow ? "Now" : step < canary.wanted ? "Passed" : "To come"}
              description={
                isNow ? (
                  <>
                    since <Ago at={canary.since} />
                    {canary.percent !== canary.wanted && `; ${canary.percent} % while instances start`}
                  </>
                ) : step === canary.next_percent && canary.next_at ? (
                  <>
                    not before <Ago at={canary.next_at} />
                  </>
                ) : undefined
              }
            >
              {step} %
            </ProgressStep>
          );
        })}
        <ProgressStep id="canary-all" titleId="canary-all-title" variant="pending" aria-label="To come">
          All
        </ProgressStep>
      </ProgressStepper>
      {judgement && (
        <p role="status">
          <strong>Its judgement:</strong> {judgement}
        </p>
      )}
    </>
  );
}
