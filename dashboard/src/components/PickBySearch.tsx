/** A select of one out of many, found by typing a part of it. */

import {
  MenuToggle,
  Select,
  SelectList,
  SelectOption,
  TextInputGroup,
  TextInputGroupMain,
} from "@patternfly/react-core";
import { useId, useState, type KeyboardEvent } from "react";

export interface Found {
  value: string;
  words: string;
  /** What else it is found by. */
  also?: string;
}

// More than these nobody reads: one types on.
const SHOWN = 60;

interface Props {
  id: string;
  label: string;
  choices: Found[];
  value: string;
  onPick: (value: string) => void;
  placeholder?: string;
  isInvalid?: boolean;
  isDisabled?: boolean;
}

export function PickBySearch({ id, label, choices, value, onPick, placeholder, isInvalid, isDisabled }: Props) {
  const [isOpen, open] = useState(false);
  const [typed, type] = useState<string | null>(null);
  const [at, move] = useState(0);
  const list = useId();
  const wanted = (typed ?? "").toLowerCase().replaceAll(" ", "_");
  const matching = choices.filter(({ value: one, words, also }) =>
    `${one} ${words} ${also ?? ""}`.toLowerCase().replaceAll(" ", "_").includes(wanted),
  );
  const shown = matching.slice(0, SHOWN);
  const words = choices.find((one) => one.value === value)?.words ?? value;
  const close = () => {
    open(false);
    type(null);
    move(0);
  };
  const pick = (picked: string) => {
    close();
    onPick(picked);
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!isOpen) open(true);
      else if (shown.length) move((at + (event.key === "ArrowDown" ? 1 : shown.length - 1)) % shown.length);
    } else if (event.key === "Enter" && isOpen) {
      event.preventDefault();
      const one = shown[at];
      if (one) pick(one.value);
    } else if (event.key === "Tab" || event.key === "Escape") {
      if (event.key === "Escape" && isOpen) event.stopPropagation();
      close();
    }
  };
  return (
    <Select
      id={list}
      isOpen={isOpen}
      isScrollable
      variant="typeahead"
      shouldFocusFirstItemOnOpen={false}
      selected={value}
      onSelect={(_, picked) => pick(String(picked))}
      onOpenChange={(on) => (on ? open(true) : close())}
      toggle={(ref) => (
        <MenuToggle
          ref={ref}
          variant="typeahead"
          isExpanded={isOpen}
          isFullWidth
          isDisabled={isDisabled}
          status={isInvalid ? "danger" : undefined}
          onClick={() => (isOpen ? close() : open(true))}
          aria-label={`${label}, all`}
        >
          <TextInputGroup isPlain isDisabled={isDisabled}>
            <TextInputGroupMain
              inputId={id}
              value={typed ?? words}
              placeholder={placeholder}
              onClick={() => open(true)}
              onChange={(_, text) => {
                type(text);
                move(0);
                open(true);
              }}
              onFocus={(event) => (event.target as HTMLInputElement).select()}
              onBlur={() => !isOpen && type(null)}
              onKeyDown={onKey}
              autoComplete="off"
              role="combobox"
              aria-label={label}
              isExpanded={isOpen}
              aria-controls={`${list}-list`}
              {...(isOpen && shown[at] ? { "aria-activedescendant": `${list}-${at}` } : {})}
            />
          </TextInputGroup>
        </MenuToggle>
      )}
    >
      <SelectList id={`${list}-list`} aria-label={label}>
        {shown.map((one, index) => (
          <SelectOption key={one.value} id={`${list}-${index}`} value={one.value} isFocused={index === at}>
            {one.words}
          </SelectOption>
        ))}
        {matching.length !== shown.length && (
          <SelectOption key=" more" isDisabled>
            {matching.length - shown.length} more: type a part of the name
          </SelectOption>
        )}
        {shown.length === 0 && (
          <SelectOption key=" none" isDisabled>
            Nothing is called so
          </SelectOption>
        )}
      </SelectList>
    </Select>
  );
}
