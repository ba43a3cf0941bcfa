/** A select of one or of several, with the words that the choices have. */

import { MenuToggle, Select, SelectList, SelectOption, Badge } from "@patternfly/react-core";
import { useState, type ReactNode } from "react";

export interface Choice {
  value: string;
  words: ReactNode;
  description?: ReactNode;
  isDisabled?: boolean;
}

interface Common {
  label: string;
  choices: Choice[];
  isFullWidth?: boolean;
}

export function PickOne({
  label,
  choices,
  value,
  onPick,
  isFullWidth,
}: Common & { value: string; onPick: (value: string) => void }) {
  const [isOpen, open] = useState(false);
  const words = choices.find((choice) => choice.value === value)?.words ?? label;
  return (
    <Select
      isOpen={isOpen}
      onOpenChange={open}
      selected={value}
      onSelect={(_, picked) => {
        open(false);
        onPick(String(picked));
      }}
      toggle={(ref) => (
        <MenuToggle
          ref={ref}
          onClick={() => open(!isOpen)}
          isExpanded={isOpen}
          isFullWidth={isFullWidth}
          // The name holds what is shown, for those who say it to their computer.
          aria-label={typeof words === "string" && words !== label ? `${label}: ${words}` : label}
        >
          {words}
        </MenuToggle>
      )}
    >
      <Options label={label} choices={choices} selected={(choice) => choice === value} />
    </Select>
  );
}

export function PickSeveral({
  label,
  choices,
  values,
  onPick,
}: Common & { values: string[]; onPick: (values: string[]) => void }) {
  const [isOpen, open] = useState(false);
  return (
    <Select
      role="menu"
      isOpen={isOpen}
      onOpenChange={open}
      onSelect={(_, picked) => {
        const value = String(picked);
        onPick(values.includes(value) ? values.filter((one) => one !== value) : [...values, value]);
      }}
      toggle={(ref) => (
        <MenuToggle
          ref={ref}
          onClick={() => open(!isOpen)}
          isExpanded={isOpen}
          {...(values.length ? { badge: <Badge isRead>{values.length}</Badge> } : {})}
        >
          {label}
        </MenuToggle>
      )}
    >
      <Options label={label} choices={choices} selected={(choice) => values.includes(choice)} hasCheckbox />
    </Select>
  );
}

function Options({
  label,
  choices,
  selected,
  hasCheckbox,
}: {
  label: string;
  choices: Choice[];
  selected: (value: string) => boolean;
  hasCheckbox?: boolean;
}) {
  return (
    <SelectList aria-label={label}>
      {choices.map(({ value, words, description, isDisabled }) => (
        <SelectOption
          key={value}
          value={value}
          isSelected={selected(value)}
          hasCheckbox={hasCheckbox}
          description={description}
          isDisabled={isDisabled}
        >
          {words}
        </SelectOption>
      ))}
    </SelectList>
  );
}
