/** Somebody else changed the model meanwhile: what they did, and mine on top of it or not at all. */

import { Alert, AlertActionLink } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import type { Model } from "../../api/queries";
import { Ago } from "../../components/Ago";
import { leaves, mergePatch, valueAt, type Tree } from "../../components/spec/draft";
import { valueWords } from "./Changes";
import { useLastRevision } from "./order";

interface Props {
  base: Model;
  now: Model;
  mine: Tree;
  takeUp: () => void;
  drop: () => void;
}

export function Conflict({ base, now, mine, takeUp, drop }: Props) {
  const revision = useLastRevision(now);
  const theirs = leaves(mergePatch(base.spec as Tree, now.spec as Tree));
  return (
    <Alert
      variant="warning"
      isInline
      role="alert"
      component="h2"
      title={`${revision?.actor ?? "Somebody else"} changed ${now.name} meanwhile`}
      actionLinks={
        <>
          <AlertActionLink onClick={takeUp}>Take up mine on top</AlertActionLink>
          <AlertActionLink onClick={drop}>Drop mine</AlertActionLink>
        </>
      }
    >
      {revision && (
        <p>
          <Ago at={revision.created_at} />
          {revision.reason && `, saying “${revision.reason}”`}: revision {base.generation}, which you began with, is{" "}
          {now.generation} now.
        </p>
      )}
      <Table aria-label="What they changed" variant="compact" borders={false}>
        <Thead>
          <Tr>
            <Th>Field</Th>
            <Th>When you began</Th>
            <Th>Now</Th>
            <Th>With yours on top</Th>
          </Tr>
        </Thead>
        <Tbody>
          {theirs.map(([path, value]) => {
            const own = valueAt(mine, path);
            return (
              <Tr key={path.join(".")}>
                <Td dataLabel="Field">
                  <code>{path.join(".")}</code>
                </Td>
                <Td dataLabel="When you began">{valueWords(valueAt(base.spec, path))}</Td>
                <Td dataLabel="Now">{valueWords(value)}</Td>
                <Td dataLabel="With yours on top">{own === undefined ? "Theirs stays" : valueWords(own)}</Td>
              </Tr>
            );
          })}
        </Tbody>
      </Table>
    </Alert>
  );
}
