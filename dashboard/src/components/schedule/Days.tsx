/** The windows of a schedule: one for every day, or one a weekday. */

import { Button, Checkbox, FormGroup } from "@patternfly/react-core";
import { useId } from "react";

import {
  dayAfter,
  dayWord,
  isOverMidnight,
  splitOverMidnight,
  WEEKDAYS,
  type FieldError,
  type SaveSchedule,
  type TimeWindow,
  type Weekday,
} from "./rules";
import { WindowFields } from "./WindowFields";
import { Wrong } from "./Wrong";

interface Props {
  value: SaveSchedule;
  onChange: (value: SaveSchedule) => void;
  errors: FieldError[];
}

/** What is wrong with a window: the message, and with which end. */
function wrongOf(errors: FieldError[], path: string): { message?: string; field?: "start" | "stop" } {
  const found = errors.find((error) => error.path === path || error.path.startsWith(`${path}.`));
  if (!found) return {};
  return { message: found.message, field: found.path.endsWith(".start") ? "start" : "stop" };
}

export function EveryDay({ value, onChange, errors }: Props) {
  const id = useId();
  const window = value.recurring ?? { start: "", stop: "" };
  const { message, field } = wrongOf(errors, "recurring");
  return (
    <FormGroup label="Window" fieldId={`${id}-start`} isRequired>
      <WindowFields
        id={id}
        of="Every day"
        window={window}
        wrong={field}
        describedBy={`${id}-wrong`}
        onChange={(recurring) => onChange({ ...value, recurring })}
      />
      <Wrong id={`${id}-wrong`} message={message} />
      {isOverMidnight(window) && (
        <p className="yard-quiet">
          One window for every day is within one day. Nights are two days&rsquo; windows: choose &ldquo;By
          weekday&rdquo;.
        </p>
      )}
    </FormGroup>
  );
}

export function ByWeekday({ value, onChange, errors }: Props) {
  const id = useId();
  const daily = value.daily ?? {};
  const become = (next: Record<string, TimeWindow>) => onChange({ ...value, daily: next });
  const chosen = WEEKDAYS.filter((day) => daily[day]);
  const first = chosen[0];
  const model = first && daily[first];
  const differ = model && chosen.some((day) => daily[day]?.start !== model.start || daily[day]?.stop !== model.stop);
  return (
    <FormGroup role="group" label="Windows" fieldId={id} isRequired>
      {WEEKDAYS.map((day) => (
        <Day key={day} id={`${id}-${day}`} day={day} daily={daily} become={become} errors={errors} />
      ))}
      <Wrong message={errors.find(({ path }) => path === "daily")?.message} />
      {differ && (
        <Button
          variant="link"
          isInline
          onClick={() => become(Object.fromEntries(chosen.map((day) => [day, { ...model }])))}
        >
          Give all days the times of {dayWord(first)}
        </Button>
      )}
    </FormGroup>
  );
}

interface DayProps {
  id: string;
  day: Weekday;
  daily: Record<string, TimeWindow>;
  become: (daily: Record<string, TimeWindow>) => void;
  errors: FieldError[];
}

function Day({ id, day, daily, become, errors }: DayProps) {
  const window = daily[day];
  const { message, field } = wrongOf(errors, `daily.${day}`);
  const toggle = (on: boolean) => {
    const next = { ...daily };
    if (on) next[day] = { ...(Object.values(daily)[0] ?? { start: "08:00", stop: "20:00" }) };
    else delete next[day];
    become(next);
  };
  return (
    <div className="yard-day">
      <Checkbox
        id={`${id}-on`}
        label={dayWord(day)}
        isChecked={window !== undefined}
        onChange={(_, on) => toggle(on)}
      />
      {window ? (
        <div>
          <WindowFields
            id={id}
            of={dayWord(day)}
            window={window}
            wrong={field}
            describedBy={`${id}-wrong`}
            onChange={(next) => become({ ...daily, [day]: next })}
          />
          <Wrong id={`${id}-wrong`} message={message} />
          {isOverMidnight(window) && <Split day={day} window={window} daily={daily} become={become} />}
        </div>
      ) : (
        <span className="yard-quiet yard-idle">nothing happens</span>
      )}
    </div>
  );
}

function Split({ day, window, daily, become }: Omit<DayProps, "id" | "errors"> & { window: TimeWindow }) {
  const parts = splitOverMidnight(day, window, daily);
  if (typeof parts === "string")
    return <p className="yard-quiet">Over midnight it is two days&rsquo; windows. {parts}</p>;
  return (
    <Button variant="link" isInline onClick={() => become({ ...daily, ...parts })}>
      Make it two: {dayWord(day)} {window.start} to 24:00, {dayWord(dayAfter(day))} 00:00 to {window.stop}
    </Button>
  );
}
