/** The rules of a policy: each is asked for by its box, and has its own fields. */

import { Checkbox, TextInput } from "@patternfly/react-core";
import { useId, useMemo, type ReactNode } from "react";

import { PickBySearch } from "../../components/PickBySearch";
import { Field } from "../../components/FormDialog";
import { zones } from "../../components/schedule/places";
import { ownZone, type FieldError } from "../../components/schedule/rules";
import type { Rules } from "./data";
import { Windows } from "./Windows";
import { firstWindow } from "./windows";

interface Props {
  rules: Rules;
  onChange: (rules: Rules) => void;
  errors: FieldError[];
}

// All that Modelyard knows.
const BACKENDS = ["local"] as const;

export function RulesForm({ rules, onChange, errors }: Props) {
  const { shutdown } = rules;
  const places = useMemo(() => zones(shutdown?.timezone ?? ""), [shutdown?.timezone]);
  const id = useId();
  const wrong = (path: string) => errors.find((error) => error.path === `rules.${path}`)?.message;
  return (
    <div role="group" aria-label="Rules">
      <Rule
        words="Shut down in windows"
        about="Stops what runs when a window begins, and refuses starts in it."
        isOn={Boolean(shutdown)}
        turn={(on) =>
          onChange({
            ...rules,
            shutdown: on ? { timezone: ownZone(), windows: [firstWindow()], resume: false } : null,
          })
        }
      >
        {shutdown && (
          <>
            <Field label="Time zone" id={`${id}-zone`} isRequired wrong={wrong("shutdown.timezone")}>
              <div className="yard-narrow">
                <PickBySearch
                  id={`${id}-zone`}
                  label="Time zone"
                  choices={places}
                  value={shutdown.timezone}
                  onPick={(timezone) => onChange({ ...rules, shutdown: { ...shutdown, timezone } })}
                />
              </div>
            </Field>
            <Windows
              windows={shutdown.windows}
              errors={errors}
              onChange={(windows) => onChange({ ...rules, shutdown: { ...shutdown, windows } })}
            />
            <Checkbox
              id={`${id}-resume`}
              label="At its end, start again what a window has stopped"
              isChecked={shutdown.resume ?? false}
              onChange={(_, resume) => onChange({ ...rules, shutdown: { ...shutdown, resume } })}
            />
          </>
        )}
      </Rule>
      <Length
        words="Stop what nobody uses"
        about="A model that nobody has called for so long."
        label="Unused for"
        first="2h"
        value={rules.idle_after}
        wrong={wrong("idle_after")}
        write={(idle_after) => onChange({ ...rules, idle_after })}
      />
      <Length
        words="Stop what runs for long"
        about="So long after its start; an event says so ten minutes before."
        label="Running for"
        first="12h"
        value={rules.max_run_time}
        wrong={wrong("max_run_time")}
        write={(max_run_time) => onChange({ ...rules, max_run_time })}
      />
      <Caps rules={rules} onChange={onChange} errors={errors} />
      <Rule
        words="Signed versions only"
        about="Launches signed versions of registered models, and nothing else."
        isOn={rules.require_signature ?? false}
        turn={(require_signature) => onChange({ ...rules, require_signature })}
      />
      <Rule
        words="Only on these backends"
        about={BACKENDS.join(", ")}
        isOn={(rules.allowed_backends ?? []).length > 0}
        turn={(on) => onChange({ ...rules, allowed_backends: on ? [...BACKENDS] : [] })}
      />
      <Rule
        words="Protected"
        about="Only who may override the policy stops or deletes the model, and nobody takes its place."
        isOn={rules.protected ?? false}
        turn={(on) => onChange({ ...rules, protected: on })}
      />
    </div>
  );
}

interface RuleProps {
  words: string;
  about: string;
  isOn: boolean;
  turn: (on: boolean) => void;
  children?: ReactNode;
}

function Rule({ words, about, isOn, turn, children }: RuleProps) {
  const id = useId();
  return (
    <>
      <Checkbox id={id} label={words} description={about} isChecked={isOn} onChange={(_, on) => turn(on)} />
      {isOn && children && <div className="yard-rule">{children}</div>}
    </>
  );
}

interface LengthProps extends Omit<RuleProps, "isOn" | "turn" | "children"> {
  label: string;
  first: string;
  value: string | number | null | undefined;
  wrong: string | undefined;
  write: (value: string | null) => void;
}

function Length({ words, about, label, first, value, wrong, write }: LengthProps) {
  const id = useId();
  const isOn = value !== null && value !== undefined;
  return (
    <Rule words={words} about={about} isOn={isOn} turn={(on) => write(on ? first : null)}>
      <Field label={label} id={id} isRequired wrong={wrong} help="As 30m, 2h or 3d.">
        <TextInput
          id={id}
          className="yard-amount"
          value={String(value ?? "")}
          validated={wrong ? "error" : "default"}
          onChange={(_, text) => write(text)}
        />
      </Field>
    </Rule>
  );
}

function Caps({ rules, onChange, errors }: Props) {
  const id = useId();
  const { gpus = null, memory = null, cpu = null } = rules.caps ?? {};
  const isOn = [gpus, memory, cpu].some((one) => one !== null);
  const become = (next: Partial<NonNullable<Rules["caps"]>>) =>
    onChange({ ...rules, caps: { gpus, memory, cpu, ...next } });
  const number = (text: string) => (text.trim() === "" || Number.isNaN(Number(text)) ? null : Number(text));
  const field = (name: "gpus" | "memory" | "cpu", label: string, help: string, write: (text: string) => void) => {
    const wrong = errors.find(({ path }) => path === `rules.caps.${name}`)?.message;
    return (
      <Field label={label} id={`${id}-${name}`} help={help} wrong={wrong}>
        <TextInput
          id={`${id}-${name}`}
          className="yard-amount"
          type={name === "memory" ? "text" : "number"}
          value={String({ gpus, memory, cpu }[name] ?? "")}
          validated={wrong ? "error" : "default"}
          onChange={(_, text) => write(text)}
        />
      </Field>
    );
  };
  return (
    <Rule
      words="Caps"
      about="What all instances of one model may hold together."
      isOn={isOn}
      turn={(on) => onChange({ ...rules, caps: on ? { memory: "4Gi" } : {} })}
    >
      <div className="yard-shutrow">
        {field("memory", "Memory", "As 512Mi or 4Gi.", (text) => become({ memory: text || null }))}
        {field("gpus", "GPUs", "Empty: any.", (text) => become({ gpus: number(text) }))}
        {field("cpu", "Cores", "Empty: any.", (text) => become({ cpu: number(text) }))}
      </div>
    </Rule>
  );
}
