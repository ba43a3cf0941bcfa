/** How many instances there are, and what they follow. */

import { FormSection, Grid, Switch } from "@patternfly/react-core";

import { ChoiceField, DurationField, NumberField, useField, WholeField } from "./Fields";
import { useForm } from "./form";

export function ScalingFields() {
  const { spec, set } = useForm();
  const target = useField("autoscaling.target");
  const idle = useField("autoscaling.idle_after");
  const scales = target.value !== undefined && target.value !== null;
  const sleeps = idle.value !== undefined && idle.value !== null;
  return (
    <>
      <FormSection title="Instances" titleElement="h3">
        <Switch
          id="spec-scales"
          label="As many as the requests need"
          isChecked={scales}
          onChange={(_, on) => {
            target.set(on ? 4 : undefined);
            if (!on) set(["autoscaling", "metric"], undefined);
          }}
        />
        <Grid hasGutter sm={4}>
          <WholeField path="replicas.min" label="At least" placeholder="1" />
          <WholeField path="replicas.max" label="At most" placeholder="1" />
          {!scales && <WholeField path="replicas.desired" label="Now" placeholder={String(spec.replicas?.min ?? 1)} />}
        </Grid>
        {scales && (
          <Grid hasGutter sm={4}>
            <ChoiceField
              path="autoscaling.metric"
              label="Follow"
              usual="concurrency"
              choices={[
                { value: "concurrency", words: "Requests in flight" },
                { value: "rps", words: "Requests a second" },
              ]}
            />
            <NumberField path="autoscaling.target" label="For each instance" isRequired />
            <DurationField path="autoscaling.scale_down_delay" label="Fewer after" placeholder="300s" />
          </Grid>
        )}
      </FormSection>
      <FormSection title="When nobody calls" titleElement="h3">
        <Switch
          id="spec-sleeps"
          label="Hold nothing until the next request"
          isChecked={sleeps}
          onChange={(_, on) => idle.set(on ? "15m" : undefined)}
        />
        {sleeps && (
          <Grid hasGutter sm={4}>
            <DurationField path="autoscaling.idle_after" label="Without a request for" isRequired />
            <DurationField path="autoscaling.wake_timeout" label="The next one waits" placeholder="60s" />
            <WholeField path="autoscaling.max_waiting" label="Requests that may wait" placeholder="100" />
          </Grid>
        )}
      </FormSection>
    </>
  );
}
