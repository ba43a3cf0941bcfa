/** The kinds of fields that a spec's form is made of: each is about the value at one path. */

import {
  Checkbox,
  FormGroup,
  FormHelperText,
  HelperText,
  HelperTextItem,
  TextArea,
  TextInput,
} from "@patternfly/react-core";
import type { ReactNode } from "react";

import { PickOne, type Choice } from "../Pick";
import { valueAt } from "./draft";
import { useForm, wrongAt } from "./form";

interface Common {
  path: string;
  label: string;
  help?: ReactNode;
  isRequired?: boolean;
}

const fieldId = (path: string) => `spec-${path.replaceAll(".", "-")}`;

/** A field's value, what changes it, and what is wrong with it. */
export function useField(path: string) {
  const { spec, set, problems } = useForm();
  const keys = path.split(".");
  return {
    id: fieldId(path),
    value: valueAt(spec, keys),
    set: (value: unknown) => set(keys, value),
    wrong: wrongAt(problems, path),
  };
}

/** What a field means, or what is wrong with it instead. */
export function Below({ id, help, wrong }: { id: string; help?: ReactNode; wrong: string | undefined }) {
  if (!help && !wrong) return null;
  return (
    <FormHelperText>
      <HelperText id={`${id}-help`} isLiveRegion>
        <HelperTextItem variant={wrong ? "error" : "default"}>{wrong ?? help}</HelperTextItem>
      </HelperText>
    </FormHelperText>
  );
}

interface TextProps extends Common {
  placeholder?: string;
  check?: (text: string) => string | undefined;
  isNumeric?: boolean;
  isLong?: boolean;
}

export function TextField({ path, label, help, placeholder, check, isNumeric, isLong, isRequired }: TextProps) {
  const { id, value, set, wrong } = useField(path);
  const text = value === undefined || value === null ? "" : String(value);
  const isWrong = (text && check?.(text)) || wrong;
  const shared = {
    id,
    value: text,
    placeholder,
    "aria-describedby": help || isWrong ? `${id}-help` : undefined,
    validated: isWrong ? ("error" as const) : ("default" as const),
    onChange: (_: unknown, typed: string) => set(typed === "" ? undefined : typed),
  };
  return (
    <FormGroup label={label} fieldId={id} isRequired={isRequired}>
      {isLong ? (
        <TextArea {...shared} resizeOrientation="vertical" />
      ) : (
        <TextInput
          {...shared}
          autoComplete="off"
          spellCheck={false}
          inputMode={isNumeric ? "decimal" : undefined}
          className={isNumeric ? "yard-number" : undefined}
        />
      )}
      <Below id={id} help={help} wrong={isWrong || undefined} />
    </FormGroup>
  );
}

const isWhole = (text: string) => (/^-?\d+$/.test(text) ? undefined : "Write a whole number.");
const isAnyNumber = (text: string) => (/^-?\d+(\.\d+)?$/.test(text) ? undefined : "Write a number, for example 0.5.");
const isSize = (text: string) =>
  /^\d+(\.\d+)?\s*([KMGTP]i?)?B?$/i.test(text) ? undefined : "Write a size, for example 512Mi or 2Gi.";
const isDuration = (text: string) =>
  /^\d+(\.\d+)?(ms|s|m|h|d)?$/.test(text) ? undefined : "Write a duration, for example 30s, 5m or 2h.";

export const WholeField = (props: Common & { placeholder?: string }) => (
  <TextField {...props} check={isWhole} isNumeric />
);
export const NumberField = (props: Common & { placeholder?: string }) => (
  <TextField {...props} check={isAnyNumber} isNumeric />
);
export const SizeField = (props: Common & { placeholder?: string }) => <TextField {...props} check={isSize} />;
export const DurationField = (props: Common & { placeholder?: string }) => <TextField {...props} check={isDuration} />;

export function FlagField({ path, label, help }: Common) {
  const { id, value, set, wrong } = useField(path);
  return (
    <Checkbox
      id={id}
      label={label}
      description={help}
      body={wrong && <Below id={id} wrong={wrong} />}
      isChecked={value === true}
      onChange={(_, on) => set(on ? true : undefined)}
    />
  );
}

export function ChoiceField({
  path,
  label,
  help,
  choices,
  usual,
}: Common & { choices: Choice[]; /** What it is when nobody sets it. */ usual: string }) {
  const { id, value, set, wrong } = useField(path);
  return (
    <FormGroup label={label} fieldId={id} role="group">
      <PickOne
        label={label}
        choices={choices}
        value={typeof value === "string" ? value : usual}
        onPick={(picked) => set(picked === usual ? undefined : picked)}
        isFullWidth
      />
      <Below id={id} help={help} wrong={wrong} />
    </FormGroup>
  );
}

/** A list of words, with commas between. */
export function WordsField({ path, label, help, placeholder }: Common & { placeholder?: string }) {
  const { id, value, set, wrong } = useField(path);
  const words = Array.isArray(value) ? value.map(String) : [];
  return (
    <FormGroup label={label} fieldId={id}>
      <TextInput
        id={id}
        value={words.join(",")}
        placeholder={placeholder}
        validated={wrong ? "error" : "default"}
        aria-describedby={help || wrong ? `${id}-help` : undefined}
        autoComplete="off"
        onChange={(_, text) => set(text === "" ? undefined : text.split(",").map((word) => word.trimStart()))}
      />
      <Below id={id} help={help} wrong={wrong} />
    </FormGroup>
  );
}
