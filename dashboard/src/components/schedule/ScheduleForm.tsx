/** When a model runs by itself, as a form: it holds nothing, what is typed is in `value` at once. Whoever shows it asks
 * `scheduleProblems(value)` whether it may be sent. */

import { Checkbox, FormGroup, Switch, TextInput, ToggleGroup, ToggleGroupItem } from "@patternfly/react-core";
import { useId, useMemo } from "react";

import { PickBySearch } from "../PickBySearch";
import { ByWeekday, EveryDay } from "./Days";
import { Exceptions } from "./Exceptions";
import { countries, zones } from "./places";
import { scheduleProblems, WEEKDAYS, type FieldError, type SaveSchedule } from "./rules";
import "./schedule.css";
import { Wrong } from "./Wrong";

interface Props {
  value: SaveSchedule;
  onChange: (value: SaveSchedule) => void;
  /** What the server has said of the fields, by their paths in SaveSchedule. */
  errors?: FieldError[];
}

/** The other kind, with the windows that there are. */
function ofType(value: SaveSchedule, type: SaveSchedule["type"]): SaveSchedule {
  if (type === value.type) return value;
  if (type === "recurring") {
    const window = Object.values(value.daily ?? {})[0] ?? { start: "08:00", stop: "20:00" };
    return { ...value, type, recurring: window, daily: {} };
  }
  const window = value.recurring ?? { start: "08:00", stop: "20:00" };
  return { ...value, type, recurring: null, daily: Object.fromEntries(WEEKDAYS.map((day) => [day, window])) };
}

export function ScheduleForm({ value, onChange, errors = [] }: Props) {
  const id = useId();
  const own = scheduleProblems(value);
  const all = [...own, ...errors.filter(({ path }) => !own.some((one) => one.path === path))];
  const places = useMemo(() => zones(value.timezone), [value.timezone]);
  const zoneWrong = all.find(({ path }) => path === "timezone")?.message;
  return (
    <>
      <FormGroup label="Runs" fieldId={`${id}-type`} role="group">
        <ToggleGroup aria-label="Runs">
          <ToggleGroupItem
            text="By weekday"
            isSelected={value.type === "daily"}
            onChange={() => onChange(ofType(value, "daily"))}
          />
          <ToggleGroupItem
            text="Every day alike"
            isSelected={value.type === "recurring"}
            onChange={() => onChange(ofType(value, "recurring"))}
          />
        </ToggleGroup>
      </FormGroup>
      <FormGroup label="Time zone" fieldId={`${id}-zone`} isRequired className="yard-narrow">
        <PickBySearch
          id={`${id}-zone`}
          label="Time zone"
          choices={places}
          value={value.timezone}
          isInvalid={Boolean(zoneWrong)}
          onPick={(timezone) => onChange({ ...value, timezone })}
        />
        <Wrong message={zoneWrong} />
      </FormGroup>
      {value.type === "daily" ? (
        <ByWeekday value={value} onChange={onChange} errors={all} />
      ) : (
        <EveryDay value={value} onChange={onChange} errors={all} />
      )}
      <Exceptions
        exceptions={value.exceptions ?? []}
        onChange={(exceptions) => onChange({ ...value, exceptions })}
        errors={all}
      />
      <Holidays value={value} onChange={onChange} errors={all} />
      <FormGroup fieldId={`${id}-enabled`}>
        <Switch
          id={`${id}-enabled`}
          label="The schedule acts"
          isChecked={value.enabled ?? true}
          onChange={(_, enabled) => onChange({ ...value, enabled })}
        />
        {value.enabled === false && <p className="yard-quiet">It is kept, and starts and stops nothing.</p>}
      </FormGroup>
    </>
  );
}

function Holidays({ value, onChange, errors }: Required<Props>) {
  const id = useId();
  const places = useMemo(countries, []);
  const { holidays } = value;
  const wrong = errors.find(({ path }) => path.startsWith("holidays"))?.message;
  return (
    <FormGroup fieldId={`${id}-on`} role="group" label="Public holidays">
      <Checkbox
        id={`${id}-on`}
        label="Nothing happens on public holidays"
        isChecked={Boolean(holidays)}
        onChange={(_, on) => onChange({ ...value, holidays: on ? { country: "", subdivision: "" } : null })}
      />
      {holidays && (
        <div className="yard-window">
          <div className="yard-narrow">
            <PickBySearch
              id={`${id}-country`}
              label="Country"
              placeholder="Country"
              choices={places}
              value={holidays.country}
              isInvalid={Boolean(wrong)}
              onPick={(country) => onChange({ ...value, holidays: { country, subdivision: "" } })}
            />
          </div>
          <TextInput
            aria-label="State or region, by its code"
            className="yard-time"
            placeholder="BE"
            title="State or region: what follows the hyphen in ISO 3166-2, as BE of DE-BE. Empty: the whole country."
            value={holidays.subdivision ?? ""}
            onChange={(_, subdivision) => onChange({ ...value, holidays: { ...holidays, subdivision } })}
          />
        </div>
      )}
      <Wrong message={wrong} />
    </FormGroup>
  );
}
