/** What policies come to: each rule with how it stands. */

import { Label } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import { Ago } from "../../components/Ago";
import { scopeInWords, type ModelPolicies, type Ruling } from "./data";
import { RULES } from "./words";

const STANDINGS: Record<Ruling["standing"], { words: string; color: "blue" | "orange" | "grey" | "purple" | "teal" }> =
  {
    in_force: { words: "Holds", color: "blue" },
    warns: { words: "Only warns", color: "orange" },
    yields: { words: "Yields", color: "grey" },
    shielded: { words: "Stops nothing", color: "teal" },
    overridden: { words: "Overridden", color: "purple" },
  };

export function StandingLabel({ standing }: { standing: Ruling["standing"] }) {
  return (
    <Label isCompact color={STANDINGS[standing].color}>
      {STANDINGS[standing].words}
    </Label>
  );
}

/** When the clock stops the model next, and what speaks against what it is now. */
export function Stops({ of: { closed_until, stops_at, stops_because, findings } }: { of: ModelPolicies }) {
  return (
    <>
      {closed_until && (
        <p>
          Shut down until {new Date(closed_until).toLocaleString()} (<Ago at={closed_until} />
          ).
        </p>
      )}
      {stops_at && (
        <p>
          Stopped <Ago at={stops_at} />
          {stops_because && `: ${stops_because}`}
        </p>
      )}
      {findings.map(({ policy, rule, refused, message }) => (
        <p key={policy + rule}>
          <Label isCompact status={refused ? "danger" : "warning"}>
            {refused ? "Next start refused" : "Warned of"}
          </Label>{" "}
          {message}
        </p>
      ))}
    </>
  );
}

export function RulingTable({ rulings, label }: { rulings: Ruling[]; label: string }) {
  return (
    <Table aria-label={label} variant="compact">
      <Thead>
        <Tr>
          <Th>Rule</Th>
          <Th>Asks</Th>
          <Th>Policy</Th>
          <Th>Standing</Th>
        </Tr>
      </Thead>
      <Tbody>
        {rulings.map((ruling) => (
          <Tr key={ruling.rule + ruling.namespace + ruling.policy}>
            <Td dataLabel="Rule">{RULES[ruling.rule]}</Td>
            <Td dataLabel="Asks">{ruling.value}</Td>
            <Td dataLabel="Policy">
              {ruling.policy} <span className="yard-quiet">of {scopeInWords(ruling.namespace)}</span>
            </Td>
            <Td dataLabel="Standing">
              <StandingLabel standing={ruling.standing} /> {ruling.why}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
