/** What is watched for: the built-in rules and one's own, each to be switched on and off. */

import {
  Button,
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
  Label,
  Switch,
  Toolbar,
  ToolbarContent,
  ToolbarItem,
} from "@patternfly/react-core";
import { BellIcon } from "@patternfly/react-icons";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { Failed, messageOf } from "../../components/Failed";
import { notify } from "../../components/notices";
import { LoadingRows } from "../../components/Rows";
import { RowActions } from "../../components/RowActions";
import { askRulesAgain, putRule, useRules, type AlertRule } from "./calls";
import { DeleteRuleDialog } from "./DeleteRuleDialog";
import { KINDS, numberOf, SeverityLabel } from "./kinds";
import { RuleDialog } from "./RuleDialog";
import { bodyOf } from "./rules";

type Dialog = { set: AlertRule | null } | { drop: AlertRule };

export function Rules({ scope }: { scope: string }) {
  const rules = useRules(scope);
  const [dialog, show] = useState<Dialog | null>(null);
  const close = () => show(null);
  const add = (
    <Button variant="primary" onClick={() => show({ set: null })}>
      Add a rule
    </Button>
  );
  if (rules.error && !rules.data) return <Failed error={rules.error} retry={() => void rules.refetch()} />;
  return (
    <>
      {!rules.data ? (
        <LoadingRows words="Loading rules" />
      ) : rules.data.length === 0 ? (
        <EmptyState icon={BellIcon} titleText="No rules of its own" headingLevel="h2">
          <EmptyStateBody>
            Rules of the installation watch this namespace already: starts that fail, crash loops, failed schedules. Add
            one for errors, latency, memory or waiting.
          </EmptyStateBody>
          <EmptyStateFooter>
            <EmptyStateActions>{add}</EmptyStateActions>
          </EmptyStateFooter>
        </EmptyState>
      ) : (
        <>
          <Toolbar>
            <ToolbarContent>
              <ToolbarItem>{add}</ToolbarItem>
            </ToolbarContent>
          </Toolbar>
          <RuleTable
            scope={scope}
            rules={rules.data}
            change={(rule) => show({ set: rule })}
            drop={(rule) => show({ drop: rule })}
          />
        </>
      )}
      {dialog && "set" in dialog && <RuleDialog scope={scope} rule={dialog.set} close={close} />}
      {dialog && "drop" in dialog && <DeleteRuleDialog scope={scope} rule={dialog.drop} close={close} />}
    </>
  );
}

interface TableProps {
  scope: string;
  rules: AlertRule[];
  change: (rule: AlertRule) => void;
  drop: (rule: AlertRule) => void;
}

function RuleTable({ scope, rules, change, drop }: TableProps) {
  const turning = useMutation({
    mutationFn: (rule: AlertRule) =>
      putRule(scope, rule.name, { ...bodyOf(rule), enabled: !rule.enabled }, rule.version),
    onSettled: () => askRulesAgain(scope),
    onError: (error, rule) => notify("danger", `The rule ${rule.name} was not changed`, messageOf(error)),
  });
  return (
    <Table aria-label="Alert rules" variant="compact">
      <Thead>
        <Tr>
          <Th>Name</Th>
          <Th>Severity</Th>
          <Th>Fires when</Th>
          <Th>For</Th>
          <Th>On</Th>
          <Th screenReaderText="Actions" />
        </Tr>
      </Thead>
      <Tbody>
        {rules.map((rule) => (
          <Tr key={rule.name}>
            <Td dataLabel="Name">
              {rule.name}{" "}
              {rule.built_in && (
                <Label isCompact variant="outline">
                  Built-in
                </Label>
              )}
              {rule.description && <div className="yard-quiet">{rule.description}</div>}
            </Td>
            <Td dataLabel="Severity">
              <SeverityLabel severity={rule.severity} />
            </Td>
            <Td dataLabel="Fires when">{firesWhen(rule)}</Td>
            <Td dataLabel="For">{forWhich(rule)}</Td>
            <Td dataLabel="On">
              <Switch
                id={`rule-${rule.name}`}
                aria-label={`${rule.name} is watched for`}
                isChecked={rule.enabled}
                isDisabled={turning.isPending}
                onChange={() => turning.mutate(rule)}
              />
            </Td>
            <Td isActionCell>
              <RowActions
                of={rule.name}
                actions={[
                  { words: "Edit…", act: () => change(rule) },
                  {
                    words: "Delete…",
                    act: () => drop(rule),
                    isDanger: true,
                    ...(rule.built_in ? { why: "It is built in: switch it off instead." } : {}),
                  },
                ]}
              />
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function firesWhen({ kind, threshold, window, lasting }: AlertRule): string {
  const over = KINDS[kind].window ? ` within ${said(window)}` : "";
  const held = seconds(lasting) > 0 ? `, for ${said(lasting)}` : "";
  return `${KINDS[kind].words}: ${numberOf(kind, threshold)} or more${over}${held}`;
}

function forWhich({ namespaces, names, labels }: AlertRule): string {
  const labelled = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  const said = [...namespaces.map((name) => `${name}/*`), ...names, ...labelled];
  return said.length ? said.join(", ") : "all models";
}

const seconds = (duration: string | number) => (typeof duration === "number" ? duration : parseFloat(duration));

/** "86400s" as "24 h". */
function said(duration: string | number): string {
  const text = String(duration);
  const plain = /^(\d+(?:\.\d+)?)s?$/.exec(text);
  if (!plain) return text;
  const value = Number(plain[1]);
  if (value >= 3600 && value % 3600 === 0) return `${value / 3600} h`;
  return value >= 60 && value % 60 === 0 ? `${value / 60} min` : `${value} s`;
}
