/** When the new model runs by itself, if it is to. */

import { FormSection, Switch } from "@patternfly/react-core";

import { firstSchedule, type FieldError, type SaveSchedule } from "../../components/schedule/rules";
import { ScheduleForm } from "../../components/schedule/ScheduleForm";

interface Props {
  schedule: SaveSchedule | null;
  onChange: (schedule: SaveSchedule | null) => void;
  errors: FieldError[];
}

export function ScheduleStep({ schedule, onChange, errors }: Props) {
  return (
    <FormSection title="Schedule" titleElement="h3">
      <Switch
        id="spec-scheduled"
        label="Start and stop by itself at set times"
        isChecked={schedule !== null}
        onChange={(_, on) => onChange(on ? firstSchedule() : null)}
      />
      {schedule && <ScheduleForm value={schedule} onChange={onChange} errors={errors} />}
    </FormSection>
  );
}
