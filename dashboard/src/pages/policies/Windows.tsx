/** The windows of a shutdown: written line by line, and drawn as a week. */

import { Button, Checkbox, FormGroup, TextInput, ToggleGroup, ToggleGroupItem } from "@patternfly/react-core";
import { PlusCircleIcon, TrashIcon } from "@patternfly/react-icons";

import { PickOne } from "../../components/Pick";
import { clock } from "../../components/schedule/days";
import { dayWord, WEEKDAYS, type FieldError, type Weekday } from "../../components/schedule/rules";
import { Wrong } from "../../components/schedule/Wrong";
import type { WeeklyWindow } from "./data";
import { firstWindow, momentOf, shutByDay } from "./windows";

interface Props {
  windows: WeeklyWindow[];
  onChange: (windows: WeeklyWindow[]) => void;
  errors: FieldError[];
}

const DAYS = WEEKDAYS.map((day) => ({ value: day, words: dayWord(day) }));

export function Windows({ windows, onChange, errors }: Props) {
  return (
    <FormGroup role="group" label="Windows" fieldId="windows" isRequired>
      {windows.map((window, index) => (
        <Row
          key={index}
          number={index + 1}
          window={window}
          wrong={errors.find(({ path }) => path.startsWith(`rules.shutdown.windows[${index}]`))?.message}
          onChange={(next) => onChange(windows.map((other, at) => (at === index ? next : other)))}
          remove={() => onChange(windows.filter((_, at) => at !== index))}
        />
      ))}
      <Wrong message={errors.find(({ path }) => path === "rules.shutdown.windows")?.message} />
      <Button
        variant="link"
        isInline
        icon={<PlusCircleIcon />}
        onClick={() => onChange([...windows, windows.length ? { days: [] } : firstWindow()])}
      >
        Add a window
      </Button>
      <WindowWeek windows={windows} />
    </FormGroup>
  );
}

interface RowProps {
  number: number;
  window: WeeklyWindow;
  wrong: string | undefined;
  onChange: (window: WeeklyWindow) => void;
  remove: () => void;
}

function Row({ number, window, wrong, onChange, remove }: RowProps) {
  const isSpan = Boolean(window.from || window.to);
  const of = `Window ${number}`;
  const time = (label: string, value: string, write: (value: string) => void) => (
    <TextInput
      className="yard-hhmm"
      aria-label={`${of}, ${label}`}
      value={value}
      maxLength={5}
      autoComplete="off"
      validated={wrong ? "error" : "default"}
      onChange={(_, text) => write(text)}
    />
  );
  const moment = (end: "from" | "to", words: string) => {
    const { day, time: at } = momentOf(window[end]);
    const become = (nextDay: string, nextTime: string) => onChange({ ...window, [end]: `${nextDay} ${nextTime}` });
    return (
      <>
        <PickOne label={`${of}, ${words} day`} choices={DAYS} value={day} onPick={(next) => become(next, at)} />
        {time(`${words} time`, at, (next) => become(day, next))}
      </>
    );
  };
  return (
    <div className="yard-shutrow">
      <ToggleGroup aria-label={`${of}, kind`} isCompact>
        <ToggleGroupItem text="From … to" isSelected={isSpan} onChange={() => onChange(firstWindow())} />
        <ToggleGroupItem
          text="On days"
          isSelected={!isSpan}
          onChange={() => onChange({ days: ["saturday", "sunday"], start: "00:00", stop: "24:00" })}
        />
      </ToggleGroup>
      {isSpan ? (
        <>
          {moment("from", "first")}
          <span aria-hidden="true">to</span>
          {moment("to", "last")}
        </>
      ) : (
        <>
          <Days of={of} days={window.days ?? []} onChange={(days) => onChange({ ...window, days })} />
          {time("from", window.start ?? "00:00", (start) =>
            onChange({ ...window, start, stop: window.stop ?? "24:00" }),
          )}
          <span aria-hidden="true">to</span>
          {time("to", window.stop ?? "24:00", (stop) => onChange({ ...window, stop, start: window.start ?? "00:00" }))}
        </>
      )}
      <Button variant="plain" aria-label={`Remove window ${number}`} icon={<TrashIcon />} onClick={remove} />
      <Wrong message={wrong} />
    </div>
  );
}

function Days({ of, days, onChange }: { of: string; days: Weekday[]; onChange: (days: Weekday[]) => void }) {
  return (
    <span className="yard-shutrow" role="group" aria-label={`${of}, days`}>
      {WEEKDAYS.map((day) => (
        <Checkbox
          key={day}
          id={`${of}-${day}`.replace(" ", "-")}
          label={dayWord(day).slice(0, 3)}
          aria-label={dayWord(day)}
          isChecked={days.includes(day)}
          onChange={(_, on) => onChange(WEEKDAYS.filter((one) => (one === day ? on : days.includes(one))))}
        />
      ))}
    </span>
  );
}

/** The week as these windows leave it. */
export function WindowWeek({ windows }: { windows: WeeklyWindow[] }) {
  const shut = shutByDay(windows);
  const percent = (minute: number) => `${(minute / 1440) * 100}%`;
  return (
    <ol className="yard-shutweek" aria-label="Shut down in a week">
      {WEEKDAYS.map((day, index) => {
        const pieces = shut[index] ?? [];
        const words = pieces.map(({ from, to }) => `${clock(from)} to ${clock(to)}`).join(" and ");
        return (
          <li key={day}>
            <span aria-hidden="true" className="yard-quiet">
              {dayWord(day).slice(0, 3)}
            </span>
            <span className="pf-v6-screen-reader">
              {dayWord(day)}: {words ? `shut down ${words}` : "open"}
            </span>
            <span className="yard-shutday" aria-hidden="true" title={words || "Open"}>
              {pieces.map(({ from, to }) => (
                <span key={from} style={{ insetInlineStart: percent(from), inlineSize: percent(to - from) }} />
              ))}
            </span>
          </li>
        );
      })}
      <li aria-hidden="true">
        <span />
        <span className="yard-shuthours yard-quiet yard-number">
          {["00", "06", "12", "18", "24"].map((hour) => (
            <span key={hour}>{hour}</span>
          ))}
        </span>
      </li>
    </ol>
  );
}
