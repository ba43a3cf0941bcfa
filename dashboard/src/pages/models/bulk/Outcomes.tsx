/** What would come, and what came, of a command for each of many models. */

import { Label, Skeleton } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Link } from "react-router";

import type { Operation } from "../../../api/queries";
import { StateLabel } from "../../../components/StateLabel";
import { many } from "../../../components/quantities";
import type { Item, Prospect } from "./order";

export function ProspectTable({ prospects, isLoading }: { prospects: Prospect[] | undefined; isLoading: boolean }) {
  if (!prospects) return isLoading ? <Skeleton height="6rem" screenreaderText="Asking what would come of it" /> : null;
  const doing = prospects.filter((one) => one.does).length;
  return (
    <div role="status">
      <p>
        {many(doing, "model")} would change{doing < prospects.length && `, ${prospects.length - doing} would not`}.
      </p>
      <Table aria-label="What would come of it" variant="compact">
        <Thead>
          <Tr>
            <Th>Model</Th>
            <Th>State now</Th>
            <Th>What would come of it</Th>
          </Tr>
        </Thead>
        <Tbody>
          {prospects.map((one) => (
            <Tr key={`${one.namespace}/${one.model}`}>
              <Td dataLabel="Model">
                {one.model} <span className="yard-quiet">{one.namespace}</span>
              </Td>
              <Td dataLabel="State now">{one.state && <StateLabel state={one.state} />}</Td>
              <Td dataLabel="What would come of it">
                {one.error ? (
                  <Label status="danger" isCompact>
                    Refused
                  </Label>
                ) : (
                  !one.does && <Label isCompact>Nothing to do</Label>
                )}{" "}
                {one.error?.detail ?? one.message}
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
    </div>
  );
}

const ITEM: Record<
  Item["state"],
  { words: string; color: "blue" | "green" | "red" | "grey" | "orange"; outlined?: boolean }
> = {
  waiting: { words: "Waits", color: "grey", outlined: true },
  running: { words: "Under way", color: "blue" },
  succeeded: { words: "Done", color: "green" },
  failed: { words: "Failed", color: "red" },
  skipped: { words: "Skipped", color: "orange" },
  cancelled: { words: "Cancelled", color: "orange" },
};

export function ItemTable({ operation }: { operation: Operation }) {
  const items = operation.items ?? [];
  const left = items.filter(({ state }) => state === "waiting" || state === "running").length;
  const failed = items.filter(({ state }) => state === "failed").length;
  return (
    <div role="status">
      <p>
        {operation.done
          ? failed > 0
            ? `Done; ${many(failed, "model")} failed.`
            : "Done."
          : `${many(left, "model")} left. You may close this: it goes on.`}
      </p>
      <Table aria-label="What came of it" variant="compact">
        <Thead>
          <Tr>
            <Th>Model</Th>
            <Th>Outcome</Th>
            <Th screenReaderText="Why" />
          </Tr>
        </Thead>
        <Tbody>
          {items.map((item) => {
            const { words, color, outlined } = ITEM[item.state];
            return (
              <Tr key={`${item.namespace}/${item.model}`}>
                <Td dataLabel="Model">
                  <Link to={`/models/${item.namespace}/${item.model}`}>{item.model}</Link>{" "}
                  <span className="yard-quiet">{item.namespace}</span>
                </Td>
                <Td dataLabel="Outcome">
                  <Label color={color} variant={outlined ? "outline" : "filled"} isCompact>
                    {words}
                  </Label>
                </Td>
                <Td dataLabel="Why">{item.error?.detail ?? item.message}</Td>
              </Tr>
            );
          })}
        </Tbody>
      </Table>
    </div>
  );
}
