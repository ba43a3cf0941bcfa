/** What a command on many models can be given beside them. */

import { Checkbox, FormGroup, Radio, TextInput } from "@patternfly/react-core";
import { useId, useState } from "react";

import { firstSchedule } from "../../../components/schedule/rules";
import { ScheduleForm } from "../../../components/schedule/ScheduleForm";
import type { Action, Options } from "./order";

export function startOptions(action: Action): Options {
  if (action === "stop" || action === "delete") return { graceful: true, timeout: "30s" };
  if (action === "schedule") return { schedule_edit: "disable" };
  return {};
}

interface Props {
  action: Action;
  options: Options;
  choose: (options: Options) => void;
}

export function BulkOptions({ action, options, choose }: Props) {
  switch (action) {
    case "stop":
    case "delete":
      return <Ending options={options} choose={choose} />;
    case "label":
      return <Labels options={options} choose={choose} />;
    case "schedule":
      return <Scheduling options={options} choose={choose} />;
    default:
      return null;
  }
}

function Ending({ options, choose }: Omit<Props, "action">) {
  const id = useId();
  return (
    <Checkbox
      id={id}
      label="Finish the requests that are in flight first, for at most 30 seconds"
      isChecked={options.graceful ?? true}
      onChange={(_, graceful) => choose({ ...options, graceful })}
    />
  );
}

/** "team=vision, old-" sets team and removes old. */
export function labelsOf(text: string): Record<string, string | null> {
  const labels: Record<string, string | null> = {};
  for (const part of text.split(",").map((one) => one.trim())) {
    const [key, value] = part.split("=", 2);
    if (key && value !== undefined) labels[key] = value;
    else if (key?.endsWith("-") && key.length > 1) labels[key.slice(0, -1)] = null;
  }
  return labels;
}

function Labels({ options, choose }: Omit<Props, "action">) {
  const id = useId();
  const [text, write] = useState("");
  return (
    <FormGroup label="Labels: key=value to set, key- to remove, with commas between" fieldId={id} isRequired>
      <TextInput
        id={id}
        value={text}
        placeholder="team=vision, old-"
        onChange={(_, value) => {
          write(value);
          choose({ ...options, labels: labelsOf(value) });
        }}
      />
    </FormGroup>
  );
}

const SET = "set";
const EDITS = [
  { edit: SET, words: "Set the same one for all: what they have now is replaced" },
  { edit: "disable", words: "Disable: they keep their schedules, which do nothing" },
  { edit: "enable", words: "Enable" },
  { edit: "remove", words: "Remove" },
] as const;

function Scheduling({ options, choose }: Omit<Props, "action">) {
  const id = useId();
  return (
    <FormGroup role="radiogroup" label="Their schedules" fieldId={id}>
      {EDITS.map(({ edit, words }) => (
        <Radio
          key={edit}
          id={`${id}-${edit}`}
          name={id}
          label={words}
          isChecked={edit === (options.schedule ? SET : options.schedule_edit)}
          onChange={() =>
            choose(
              edit === SET
                ? { ...options, schedule: firstSchedule(), schedule_edit: null }
                : { ...options, schedule: null, schedule_edit: edit },
            )
          }
        />
      ))}
      {options.schedule && (
        <div className="yard-bulk-schedule">
          <ScheduleForm value={options.schedule} onChange={(schedule) => choose({ ...options, schedule })} />
        </div>
      )}
    </FormGroup>
  );
}
