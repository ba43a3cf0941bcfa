/** What each instance holds and how it is run, and who comes first where there is too little. */

import { ExpandableSection, FormSection, Grid, GridItem } from "@patternfly/react-core";
import { useState, type ReactNode } from "react";

import { ChoiceField, DurationField, FlagField, NumberField, SizeField, TextField, WholeField } from "./Fields";
import { useForm, wrongAt } from "./form";
import { PairsField } from "./PairsField";

export function RuntimeFields() {
  const { engine } = useForm().spec;
  return (
    <>
      <FormSection title="What each instance holds" titleElement="h3">
        <Grid hasGutter sm={4}>
          <NumberField path="resources.cpu" label="Cores" placeholder="One thread" />
          <SizeField path="resources.memory" label="Memory" placeholder="No limit" />
          <WholeField path="resources.gpus" label="GPUs" placeholder="0" />
          <GridItem span={12} className="yard-quiet">
            It is reserved for the instance: a start that finds too little of it free waits.
          </GridItem>
        </Grid>
      </FormSection>
      <FormSection title="When there is too little" titleElement="h3">
        <Grid hasGutter sm={6}>
          <WholeField path="priority" label="Priority" placeholder="0" help="The highest starts first." />
          <ChoiceField
            path="preempt"
            label="May take the place of"
            usual="never"
            choices={[
              { value: "never", words: "Nobody" },
              { value: "idle", words: "Models that nobody calls", description: "Of no higher priority" },
              {
                value: "lower-priority",
                words: "Models of lower priority",
                description: "Also while they serve: they drain, queue and come back",
              },
            ]}
          />
        </Grid>
        <FlagField path="pin" label="Nobody takes its place" />
      </FormSection>
      <More title="Environment and options" paths={["container.environment", "container.secrets", "options"]}>
        <PairsField path="container.environment" label="Environment" one="variable" />
        <PairsField
          path="container.secrets"
          label="Secrets"
          one="secret"
          isSecret
          help="Variables whose values are kept sealed and never shown again."
        />
        <PairsField
          path="options"
          label="Options of the engine"
          one="option"
          isData
          without={["command", "port"]}
          help="Numbers, true, false and JSON are read as such."
        />
        <Grid hasGutter sm={6}>
          <TextField path="container.working_dir" label="Working folder" placeholder="Its own, empty" />
          <SizeField path="container.shared_memory" label="Shared memory" placeholder="As the machine has it" />
        </Grid>
      </More>
      <More title="Health" paths={["container.health_check"]}>
        {engine === "command" && (
          <TextField
            path="container.health_check.path"
            label="Path that is asked"
            placeholder="/health"
            help="Where your server says over HTTP that it is well."
          />
        )}
        <Grid hasGutter sm={6}>
          <DurationField path="container.health_check.start_period" label="Ready within" placeholder="300s" />
          <DurationField path="container.health_check.interval" label="Asked every" placeholder="5s" />
          <DurationField path="container.health_check.timeout" label="Answers within" placeholder="5s" />
          <WholeField path="container.health_check.retries" label="Failures in a row that end it" placeholder="3" />
        </Grid>
      </More>
      <More title="Limits" paths={["limits"]}>
        <Grid hasGutter sm={6}>
          <DurationField path="limits.request_timeout" label="A request takes at most" placeholder="60s" />
          <SizeField path="limits.max_body" label="Largest request" placeholder="64Mi" />
          <WholeField path="limits.max_queue" label="Requests at once, waiting ones too" placeholder="1024" />
          <NumberField path="limits.rate.per_second" label="Calls a second" placeholder="At will" />
        </Grid>
      </More>
    </>
  );
}

/** What few need is folded away, unless it is filled in or wrong. */
function More({ title, paths, children }: { title: string; paths: string[]; children: ReactNode }) {
  const { problems } = useForm();
  const isWrong = paths.some((path) => wrongAt(problems, path));
  const [isOpen, open] = useState(false);
  return (
    <ExpandableSection
      toggleText={title}
      isExpanded={isOpen || isWrong}
      onToggle={(_, on) => open(on)}
      isIndented
      displaySize="default"
    >
      <FormSection>{children}</FormSection>
    </ExpandableSection>
  );
}
