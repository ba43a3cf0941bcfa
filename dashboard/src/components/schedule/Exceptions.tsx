/** Days on which a schedule does something else, or nothing. */

import { Button, Checkbox, FormGroup, TextInput } from "@patternfly/react-core";
import { PlusCircleIcon, TrashIcon } from "@patternfly/react-icons";
import { useId, type FocusEvent } from "react";

import { firstOf, inOrder, lastOf, type DayException, type FieldError } from "./rules";
import { WindowFields } from "./WindowFields";
import { Wrong } from "./Wrong";

interface Props {
  exceptions: DayException[];
  onChange: (exceptions: DayException[]) => void;
  errors: FieldError[];
}

/** One day is written as `date`, several as `from` and `to`. */
function spanning(one: DayException, first: string, last: string): DayException {
  const { window = null, note = "" } = one;
  return first === last
    ? { date: first || null, window, note }
    : { from: first || null, to: last || null, window, note };
}

export function Exceptions({ exceptions, onChange, errors }: Props) {
  const id = useId();
  // They are saved by date; while one is typed none moves.
  const settle = (event: FocusEvent<HTMLElement>) => {
    const sorted = inOrder(exceptions);
    const moved = sorted.some((one, index) => one !== exceptions[index]);
    if (moved && !event.currentTarget.contains(event.relatedTarget)) onChange(sorted);
  };
  return (
    <FormGroup role="group" label="Exceptions" fieldId={id}>
      <div onBlur={settle} className="yard-exceptions">
        {exceptions.map((one, index) => (
          <Row
            key={index}
            id={`${id}-${index}`}
            number={index + 1}
            one={one}
            errors={errors.filter(({ path }) => path.startsWith(`exceptions[${index}]`))}
            onChange={(next) => onChange(exceptions.map((other, at) => (at === index ? next : other)))}
            remove={() => onChange(exceptions.filter((_, at) => at !== index))}
          />
        ))}
      </div>
      <Wrong message={errors.find(({ path }) => path === "exceptions")?.message} />
      <Button
        variant="link"
        isInline
        icon={<PlusCircleIcon />}
        onClick={() => onChange([...exceptions, { date: null, window: null, note: "" }])}
      >
        Add days off or with other times
      </Button>
    </FormGroup>
  );
}

interface RowProps {
  id: string;
  number: number;
  one: DayException;
  errors: FieldError[];
  onChange: (one: DayException) => void;
  remove: () => void;
}

function Row({ id, number, one, errors, onChange, remove }: RowProps) {
  const [first, last] = [firstOf(one), lastOf(one)];
  const of = `Exception ${number}`;
  const wrong = (end: string) => errors.some(({ path }) => path.endsWith(end));
  const day = (label: string, end: "from" | "to", value: string, write: (value: string) => void) => (
    <TextInput
      type="date"
      className="yard-date"
      aria-label={`${of}, ${label}`}
      aria-describedby={wrong(`.${end}`) ? `${id}-wrong` : undefined}
      validated={wrong(`.${end}`) ? "error" : "default"}
      value={value}
      {...(end === "to" && first ? { min: first } : {})}
      onChange={(_, text) => write(text)}
    />
  );
  return (
    <div className="yard-exception">
      <span className="yard-window">
        {day("first day", "from", first, (value) =>
          onChange(spanning(one, value, !last || last === first ? value : last)),
        )}
        <span aria-hidden="true">to</span>
        {day("last day", "to", last, (value) => onChange(spanning(one, first, value)))}
      </span>
      <span className="yard-window">
        <Checkbox
          id={`${id}-off`}
          label="Off"
          aria-label={`${of}, off`}
          isChecked={!one.window}
          onChange={(_, off) => onChange({ ...one, window: off ? null : { start: "10:00", stop: "16:00" } })}
        />
        {one.window && (
          <WindowFields
            id={id}
            of={of}
            window={one.window}
            wrong={wrong(".start") ? "start" : wrong(".stop") ? "stop" : undefined}
            describedBy={`${id}-wrong`}
            onChange={(window) => onChange({ ...one, window })}
          />
        )}
      </span>
      <TextInput
        aria-label={`${of}, why`}
        className="yard-note"
        placeholder="Why"
        value={one.note ?? ""}
        maxLength={256}
        onChange={(_, note) => onChange({ ...one, note })}
      />
      <Button variant="plain" aria-label={`Remove exception ${number}`} icon={<TrashIcon />} onClick={remove} />
      <Wrong id={`${id}-wrong`} message={errors[0]?.message} />
    </div>
  );
}
