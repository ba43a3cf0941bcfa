/** Keys as rows: those that work with what they may and when they were used, and those that do so no more. */

import { Label } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import { Ago } from "../../components/Ago";
import { RowActions } from "../../components/RowActions";
import type { ApiKey } from "./calls";
import { Patterns, roleWords } from "./roles";

const SOON = 7 * 86_400_000;

interface Props {
  keys: ApiKey[];
  rotate: (key: ApiKey) => void;
  revoke: (key: ApiKey) => void;
}

export function WorkingKeys({ keys, rotate, revoke }: Props) {
  return (
    <Table aria-label="API keys" variant="compact">
      <Thead>
        <Tr>
          <Th>Name</Th>
          <Th>Role</Th>
          <Th>Models</Th>
          <Th>Rate</Th>
          <Th modifier="wrap">Last used</Th>
          <Th>Ends</Th>
          <Th>Made</Th>
          <Th screenReaderText="Actions" />
        </Tr>
      </Thead>
      <Tbody>
        {keys.map((key) => (
          <Tr key={key.id}>
            <Td dataLabel="Name">
              {key.name}
              <div className="yard-quiet">
                <code>{key.id}</code>
              </div>
            </Td>
            <Td dataLabel="Role">{roleWords(key.role)}</Td>
            <Td dataLabel="Models">
              <Patterns models={key.models} />
              {key.groups.length > 0 && <div className="yard-quiet">in {key.groups.join(", ")}</div>}
            </Td>
            <Td dataLabel="Rate" className="yard-number">
              {key.rate ? `${key.rate.per_second} a second` : <span className="yard-quiet">none</span>}
            </Td>
            <Td dataLabel="Last used">
              {key.last_used_at ? <Ago at={key.last_used_at} /> : <span className="yard-quiet">never</span>}
            </Td>
            <Td dataLabel="Ends">
              <Ends of={key} />
            </Td>
            <Td dataLabel="Made">
              <Ago at={key.created_at} />
              <div className="yard-quiet">by {key.created_by}</div>
            </Td>
            <Td isActionCell>
              <RowActions
                of={key.name}
                actions={[
                  { words: "Rotate…", act: () => rotate(key) },
                  { words: "Revoke…", act: () => revoke(key), isDanger: true },
                ]}
              />
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function Ends({ of }: { of: ApiKey }) {
  const overlaps = of.previous_until !== null && Date.parse(of.previous_until) > Date.now();
  return (
    <>
      {of.expires_at ? <Ago at={of.expires_at} /> : <span className="yard-quiet">never</span>}{" "}
      {of.expires_at && Date.parse(of.expires_at) - Date.now() < SOON && (
        <Label color="orange" isCompact>
          Soon
        </Label>
      )}
      {overlaps && of.previous_until && (
        <div className="yard-quiet">
          the old secret <Ago at={of.previous_until} />
        </div>
      )}
    </>
  );
}

export function EndedKeys({ keys }: { keys: ApiKey[] }) {
  return (
    <Table aria-label="Revoked and expired keys" variant="compact">
      <Thead>
        <Tr>
          <Th>Name</Th>
          <Th>Role</Th>
          <Th>Ended</Th>
          <Th modifier="wrap">Last used</Th>
          <Th>Made</Th>
        </Tr>
      </Thead>
      <Tbody>
        {keys.map((key) => (
          <Tr key={key.id}>
            <Td dataLabel="Name">
              {key.name}
              <div className="yard-quiet">
                <code>{key.id}</code>
              </div>
            </Td>
            <Td dataLabel="Role">{roleWords(key.role)}</Td>
            <Td dataLabel="Ended">
              {key.revoked_at ? "Revoked" : "Expired"} <Ago at={key.revoked_at ?? key.expires_at ?? ""} />
            </Td>
            <Td dataLabel="Last used">
              {key.last_used_at ? <Ago at={key.last_used_at} /> : <span className="yard-quiet">never</span>}
            </Td>
            <Td dataLabel="Made">
              <Ago at={key.created_at} /> <span className="yard-quiet">by {key.created_by}</span>
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
