/** Whom a policy is for: all that is filled in must match. */

import { TextInput } from "@patternfly/react-core";
import { useId, useState } from "react";

import { Field } from "../../components/FormDialog";
import type { FieldError } from "../../components/schedule/rules";
import type { Selector } from "./data";
import { selectorInWords } from "./words";

const listed = (text: string) =>
  text
    .split(",")
    .map((one) => one.trim())
    .filter(Boolean);

const labelled = (text: string): Record<string, string> =>
  Object.fromEntries(
    listed(text).flatMap((one) => {
      const [key = "", value] = one.split("=", 2);
      return key && value !== undefined ? [[key, value]] : [];
    }),
  );

interface Props {
  selector: Selector;
  onChange: (selector: Selector) => void;
  /** Only policies of the installation choose by namespace. */
  byNamespace: boolean;
  errors: FieldError[];
}

export function SelectorFields({ selector, onChange, byNamespace, errors }: Props) {
  const id = useId();
  // As it is typed: a comma at its end is no name yet.
  const [texts, write] = useState({
    namespaces: (selector.namespaces ?? []).join(", "),
    models: (selector.models ?? []).join(", "),
    labels: Object.entries(selector.labels ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(", "),
  });
  const field = (name: keyof typeof texts, label: string, placeholder: string) => (
    <Field
      label={label}
      id={`${id}-${name}`}
      wrong={errors.find(({ path }) => path.startsWith(`selector.${name}`))?.message}
    >
      <TextInput
        id={`${id}-${name}`}
        value={texts[name]}
        placeholder={placeholder}
        onChange={(_, text) => {
          write({ ...texts, [name]: text });
          onChange({ ...selector, [name]: name === "labels" ? labelled(text) : listed(text) });
        }}
      />
    </Field>
  );
  return (
    <div>
      <div className="yard-selector">
        {byNamespace && field("namespaces", "Namespaces", "All; or prod, team-*")}
        {field("models", "Models", "All; or fraud, test-*")}
        {field("labels", "Labels", "Any; or team=vision, tier=dev")}
      </div>
      <p className="yard-quiet" role="status">
        For {selectorInWords(selector)}.
      </p>
    </div>
  );
}
