/** What is looked for in the record: each by itself, taken up when one stops typing in it. */

import {
  Button,
  InputGroup,
  InputGroupItem,
  InputGroupText,
  TextInput,
  Toolbar,
  ToolbarContent,
  ToolbarGroup,
  ToolbarItem,
} from "@patternfly/react-core";
import { useEffect, useState } from "react";

import { useNamespaces } from "../../api/queries";
import { PickOne } from "../../components/Pick";
import type { FilterName, Filters } from "./filters";

interface Props {
  filters: Filters;
  change: (change: Filters) => void;
  /** The namespaces to choose from; null: all there are, or none in particular. */
  scopes: string[] | null;
  clear: () => void;
}

const OUTCOMES = [
  { value: "", words: "Any outcome" },
  { value: "done", words: "Done" },
  { value: "refused", words: "Refused" },
  { value: "failed", words: "Failed" },
];

export function FilterBar({ filters, change, scopes, clear }: Props) {
  const namespaces = useNamespaces().data;
  const names = scopes ?? namespaces?.map(({ name }) => name) ?? [];
  const text = (name: FilterName, label: string, example: string) => (
    <ToolbarItem>
      <Typed label={label} example={example} value={filters[name] ?? ""} take={(value) => change({ [name]: value })} />
    </ToolbarItem>
  );
  const time = (name: "since" | "until", label: string) => (
    <ToolbarItem>
      <InputGroup>
        <InputGroupText id={`record-${name}`}>{label}</InputGroupText>
        <InputGroupItem>
          <TextInput
            type="datetime-local"
            aria-labelledby={`record-${name}`}
            value={filters[name] ?? ""}
            onChange={(_, value) => change({ [name]: value })}
          />
        </InputGroupItem>
      </InputGroup>
    </ToolbarItem>
  );
  return (
    <Toolbar aria-label="Filters of the record">
      <ToolbarContent>
        <ToolbarGroup variant="filter-group" rowWrap={{ default: "wrap" }}>
          {text("actor", "Actor", "admin, key:ci")}
          {text("action", "Action", "models.stop")}
          {text("target", "Model or other target", "name")}
          <ToolbarItem>
            <PickOne
              label="Namespace"
              value={filters.namespace ?? ""}
              onPick={(namespace) => change({ namespace })}
              choices={[
                ...(scopes ? [] : [{ value: "", words: "All namespaces" }]),
                ...names.map((name) => ({ value: name, words: name })),
              ]}
            />
          </ToolbarItem>
          <ToolbarItem>
            <PickOne
              label="Outcome"
              value={filters.outcome ?? ""}
              onPick={(outcome) => change({ outcome })}
              choices={OUTCOMES}
            />
          </ToolbarItem>
          {text("search", "Part of the reason", "reason")}
          {time("since", "Since")}
          {time("until", "Until")}
          {Object.keys(filters).length > 0 && (
            <ToolbarItem>
              <Button variant="link" onClick={clear}>
                Clear filters
              </Button>
            </ToolbarItem>
          )}
        </ToolbarGroup>
      </ToolbarContent>
    </Toolbar>
  );
}

// Milliseconds without a key that mean that a word is finished.
const PAUSE = 350;

interface TypedProps {
  label: string;
  example: string;
  value: string;
  take: (value: string) => void;
}

function Typed({ label, example, value, take }: TypedProps) {
  const [typed, type] = useState(value);
  const [seen, see] = useState(value);
  // What the address says has changed without a key: it counts.
  if (value !== seen) {
    see(value);
    type(value);
  }
  useEffect(() => {
    if (typed === value) return undefined;
    const timer = window.setTimeout(() => take(typed.trim()), PAUSE);
    return () => window.clearTimeout(timer);
  });
  return (
    <TextInput
      aria-label={label}
      placeholder={`${label}: ${example}`}
      value={typed}
      onChange={(_, next) => type(next)}
      autoComplete="off"
    />
  );
}
