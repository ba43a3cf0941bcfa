/** Names and what they stand for, a row each: labels, variables, options. */

import { Button, FormGroup, Grid, GridItem, TextInput } from "@patternfly/react-core";
import { MinusCircleIcon, PlusCircleIcon } from "@patternfly/react-icons";
import { useState } from "react";

import { isTree } from "./draft";
import { Below, useField } from "./Fields";

interface Props {
  path: string;
  label: string;
  /** What one of them is called, for its buttons. */
  one: string;
  help?: string;
  /** How a value is typed, and what it then is. */
  isSecret?: boolean;
  isData?: boolean;
  /** Those that have a field of their own elsewhere. */
  without?: string[];
}

const shown = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));

/** Numbers, true and false, lists and objects as they look; anything else is text. */
function dataOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

export function PairsField({ path, label, one, help, isSecret, isData, without = [] }: Props) {
  const { id, value, set, wrong } = useField(path);
  const tree = isTree(value) ? value : {};
  // A row without a name is on the page only.
  const [rows, setRows] = useState<[string, string][]>(() =>
    Object.entries(tree)
      .filter(([key]) => !without.includes(key))
      .map(([key, item]) => [key, shown(item)]),
  );
  const become = (next: [string, string][]) => {
    setRows(next);
    const named = next.filter(([key]) => key !== "").map(([key, text]) => [key, isData ? dataOf(text) : text]);
    const kept = Object.entries(tree).filter(([key]) => without.includes(key));
    set(named.length + kept.length ? Object.fromEntries([...kept, ...named]) : undefined);
  };
  const change = (at: number, row: [string, string]) => become(rows.map((old, index) => (index === at ? row : old)));
  return (
    <FormGroup label={label} fieldId={id} role="group">
      {rows.map(([key, text], at) => (
        <Grid key={at} hasGutter className="yard-pair">
          <GridItem span={5}>
            <TextInput
              aria-label={`Name of ${one} ${at + 1}`}
              placeholder="Name"
              value={key}
              autoComplete="off"
              onChange={(_, typed) => change(at, [typed.trim(), text])}
            />
          </GridItem>
          <GridItem span={6}>
            <TextInput
              aria-label={`Value of ${one} ${at + 1}`}
              placeholder="Value"
              type={isSecret ? "password" : "text"}
              value={text}
              autoComplete={isSecret ? "new-password" : "off"}
              onChange={(_, typed) => change(at, [key, typed])}
            />
          </GridItem>
          <GridItem span={1}>
            <Button
              variant="plain"
              aria-label={`Remove ${one} ${key || at + 1}`}
              icon={<MinusCircleIcon />}
              onClick={() => become(rows.filter((_, index) => index !== at))}
            />
          </GridItem>
        </Grid>
      ))}
      <Button variant="link" isInline icon={<PlusCircleIcon />} onClick={() => setRows([...rows, ["", ""]])}>
        Add {one}
      </Button>
      <Below id={id} help={help} wrong={wrong} />
    </FormGroup>
  );
}
