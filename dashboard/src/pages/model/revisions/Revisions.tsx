/** Every revision of a model: who made it and why, which one is in effect, which failed; any two compared. */

import {
  Button,
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  CodeBlock,
  CodeBlockCode,
  ExpandableSection,
  Flex,
  FlexItem,
  Label,
  LabelGroup,
  Skeleton,
  Tooltip,
  Truncate,
} from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useState } from "react";

import type { Model } from "../../../api/queries";
import { Ago } from "../../../components/Ago";
import { useRefusal } from "../../../components/actions/lifecycle";
import { ErrorAlert } from "../../../components/Failed";
import { PickOne } from "../../../components/Pick";
import { useDiff, useRevisions, type Revision } from "../parts";
import { DiffTable } from "./DiffTable";
import { RollBackDialog } from "./RollBackDialog";

export default function Revisions({ model }: { model: Model }) {
  const revisions = useRevisions(model);
  const [target, roll] = useState<Revision | null>(null);
  const [pair, compare] = useState<{ before: number; after: number } | null>(null);
  if (revisions.error) return <ErrorAlert title="The revisions could not be read" error={revisions.error} />;
  if (!revisions.data) return <Skeleton height="16rem" screenreaderText="Loading revisions" />;
  const newest = revisions.data[0]?.generation ?? 1;
  const shown = pair ?? { before: Math.max(1, newest - 1), after: newest };

  return (
    <Flex direction={{ default: "column" }} gap={{ default: "gapLg" }}>
      <FlexItem>
        <Table aria-label="Revisions" variant="compact" gridBreakPoint="grid-lg">
          <Thead>
            <Tr>
              <Th modifier="nowrap">Revision</Th>
              <Th width={25}>Serves</Th>
              <Th>Made</Th>
              <Th width={30}>Reason</Th>
              <Th screenReaderText="Actions" />
            </Tr>
          </Thead>
          <Tbody>
            {revisions.data.map((revision) => (
              <Row
                key={revision.generation}
                model={model}
                revision={revision}
                compare={() => compare({ before: revision.generation, after: newest })}
                rollBack={() => roll(revision)}
              />
            ))}
          </Tbody>
        </Table>
      </FlexItem>
      <FlexItem>
        {revisions.data.length > 1 ? (
          <Compared model={model} revisions={revisions.data} pair={shown} choose={compare} />
        ) : (
          <p className="yard-quiet">There is one revision. The next update makes a second one to compare it with.</p>
        )}
      </FlexItem>
      {target && <RollBackDialog model={model} to={target} close={() => roll(null)} />}
    </Flex>
  );
}

interface RowProps {
  model: Model;
  revision: Revision;
  compare: () => void;
  rollBack: () => void;
}

function Row({ model, revision, compare, rollBack }: RowProps) {
  const { generation, failure } = revision;
  // A rollback is a change of the spec that operators may make.
  const refused = useRefusal()(model, "redeploy");
  const why =
    generation === model.generation ? "It is the newest revision already." : revision.current ? null : refused;
  return (
    <Tr>
      <Td dataLabel="Revision" modifier="nowrap">
        <Flex gap={{ default: "gapSm" }} alignItems={{ default: "alignItemsCenter" }}>
          <span className="yard-number">{generation}</span>
          <LabelGroup numLabels={4}>
            {[
              revision.current && (
                <Label key="current" color="green" isCompact>
                  In effect
                </Label>
              ),
              revision.good && !revision.current && (
                <Label key="good" color="blue" isCompact>
                  Last good
                </Label>
              ),
              failure && (
                <Label key="failed" color="red" isCompact>
                  Failed
                </Label>
              ),
            ].filter(Boolean)}
          </LabelGroup>
        </Flex>
      </Td>
      <Td dataLabel="Serves">
        <Truncate content={served(revision)} position="start" />
      </Td>
      <Td dataLabel="Made" modifier="nowrap">
        <Ago at={revision.created_at} />
        <div className="yard-quiet">by {revision.actor}</div>
      </Td>
      <Td dataLabel="Reason" modifier="breakWord">
        {revision.reason || <span className="yard-quiet">none given</span>}
        {failure && (
          <div>
            {failure.message}
            {failure.log.length > 0 && <Log lines={failure.log} generation={generation} />}
          </div>
        )}
      </Td>
      <Td modifier="nowrap" className="yard-row-actions">
        <Button
          variant="link"
          isInline
          onClick={compare}
          isAriaDisabled={generation === model.generation}
          aria-label={`Compare revision ${generation} with the newest`}
        >
          Compare
        </Button>{" "}
        <Explained why={why}>
          <Button
            variant="link"
            isInline
            isAriaDisabled={why !== null}
            onClick={rollBack}
            aria-label={`Roll back to revision ${generation}`}
          >
            Roll back…
          </Button>
        </Explained>
      </Td>
    </Tr>
  );
}

function Explained({ why, children }: { why: string | null; children: React.ReactElement }) {
  return why === null ? children : <Tooltip content={why}>{children}</Tooltip>;
}

function Log({ lines, generation }: { lines: string[]; generation: number }) {
  return (
    <ExpandableSection
      toggleText="Its last log lines"
      toggleAriaLabel={`Its last log lines, of revision ${generation}`}
    >
      <CodeBlock>
        <CodeBlockCode>{lines.join("\n")}</CodeBlockCode>
      </CodeBlock>
    </ExpandableSection>
  );
}

function served({ spec, artifact }: Revision): string {
  const name = spec.source?.split("@")[0];
  if (artifact && name) return `${name}@${artifact}`;
  return spec.source ?? spec.engine ?? "";
}

interface ComparedProps {
  model: Model;
  revisions: Revision[];
  pair: { before: number; after: number };
  choose: (pair: { before: number; after: number }) => void;
}

function Compared({ model, revisions, pair, choose }: ComparedProps) {
  const { before, after } = pair;
  const diff = useDiff(model, before, after);
  const choices = revisions.map((revision) => ({
    value: String(revision.generation),
    words: `Revision ${revision.generation}${revision.current ? ", in effect" : ""}`,
    description: revision.reason,
  }));
  return (
    <Card>
      <CardHeader>
        <Flex alignItems={{ default: "alignItemsCenter" }} gap={{ default: "gapSm" }}>
          <CardTitle component="h2">What changes from</CardTitle>
          <PickOne
            label="Compare from"
            value={String(before)}
            choices={choices}
            onPick={(value) => choose({ before: Number(value), after })}
          />
          <span>to</span>
          <PickOne
            label="Compare to"
            value={String(after)}
            choices={choices}
            onPick={(value) => choose({ before, after: Number(value) })}
          />
        </Flex>
      </CardHeader>
      <CardBody>
        {before === after ? (
          <p className="yard-quiet">Choose two different revisions.</p>
        ) : diff.error ? (
          <ErrorAlert title="They could not be compared" error={diff.error} />
        ) : (
          <div role="status">
            <DiffTable changes={diff.data?.changes} label={`From revision ${before} to ${after}`} />
          </div>
        )}
      </CardBody>
    </Card>
  );
}
