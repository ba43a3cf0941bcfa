/** What differs between two versions: what is said of them, their files, and the tensors in these. */

import { Content, Flex, Label, Skeleton, Title } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import type { Schemas } from "../../api/client";
import { ErrorAlert } from "../../components/Failed";
import { bytes, many } from "../../components/quantities";
import { useDiff, type Place } from "./queries";

type Content_ = Schemas["ContentDiff"];
type Kind = "added" | "removed" | "changed";

const COLORS = { added: "green", removed: "red", changed: "blue" } as const;
const KINDS = Object.keys(COLORS) as Kind[];

export function DiffView({ place, from, to }: { place: Place; from: string; to: string }) {
  const diff = useDiff(place, from, to);
  if (diff.error) return <ErrorAlert title="They could not be compared" error={diff.error} />;
  if (!diff.data) return <Skeleton height="8rem" screenreaderText="Comparing" />;
  const { changes, content } = diff.data;
  return (
    <Flex direction={{ default: "column" }} rowGap={{ default: "rowGapLg" }}>
      {content ? (
        <p>
          A machine that has {from} fetches <strong className="yard-number">{bytes(content.fetch)}</strong> for {to};{" "}
          {bytes(content.shared)} of it are in both.
        </p>
      ) : (
        <p className="yard-quiet">Their files cannot be compared: the store has not both.</p>
      )}
      {changes.length > 0 && (
        <Table aria-label="What is said of them" variant="compact">
          <Thead>
            <Tr>
              <Th>Field</Th>
              <Th>{from}</Th>
              <Th>{to}</Th>
            </Tr>
          </Thead>
          <Tbody>
            {changes.map(({ path, before, after }) => (
              <Tr key={path}>
                <Td dataLabel="Field">
                  <code>{path}</code>
                </Td>
                <Td dataLabel={from} modifier="breakWord">
                  {shown(before)}
                </Td>
                <Td dataLabel={to} modifier="breakWord">
                  {shown(after)}
                </Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
      {content && <Files content={content} from={from} to={to} />}
      {content && <Tensors content={content} />}
    </Flex>
  );
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return "–";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 200 ? `${text.slice(0, 199)}…` : text;
}

function Files({ content, from, to }: { content: Content_; from: string; to: string }) {
  const count = KINDS.reduce((sum, kind) => sum + content[kind].count, 0);
  if (count === 0) return <Content component="p">All {many(content.same, "file")} are equal.</Content>;
  const listed = KINDS.flatMap((kind) => content[kind].items.map((file) => ({ kind, ...file })));
  return (
    <section aria-label="Files">
      <Title headingLevel="h3" size="md">
        Files
      </Title>
      <Table aria-label="Files that differ" variant="compact">
        <Thead>
          <Tr>
            <Th>File</Th>
            <Th>What</Th>
            <Th>{from}</Th>
            <Th>{to}</Th>
          </Tr>
        </Thead>
        <Tbody>
          {listed.map(({ kind, path, before, after }) => (
            <Tr key={path}>
              <Td dataLabel="File" modifier="breakWord">
                {path}
              </Td>
              <Td dataLabel="What">
                <Label isCompact color={COLORS[kind]}>
                  {kind}
                </Label>
              </Td>
              <Td dataLabel={from} className="yard-number">
                {before ? bytes(before.size) : "–"}
              </Td>
              <Td dataLabel={to} className="yard-number">
                {after ? bytes(after.size) : "–"}
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
      <Content component="small">
        {many(content.same, "file is", "files are")} equal in both.
        {count > listed.length && ` ${count - listed.length} more differ.`}
      </Content>
    </section>
  );
}

function Tensors({ content }: { content: Content_ }) {
  if (content.tensors.count === 0) return null;
  return (
    <section aria-label="Tensors">
      <Title headingLevel="h3" size="md">
        Tensors
      </Title>
      {content.tensors.items.map((file) => (
        <Table key={file.path} aria-label={`Tensors of ${file.path} that differ`} variant="compact">
          <Thead>
            <Tr>
              <Th>
                {file.path}: {many(file.same, "tensor")} equal
              </Th>
              <Th>What</Th>
              <Th>Before</Th>
              <Th>After</Th>
              <Th>Size</Th>
            </Tr>
          </Thead>
          <Tbody>
            {KINDS.flatMap((kind) =>
              file[kind].items.map(({ name, before, after, size }) => (
                <Tr key={kind + name}>
                  <Td dataLabel="Tensor" modifier="breakWord">
                    {name}
                  </Td>
                  <Td dataLabel="What">
                    <Label isCompact color={COLORS[kind]}>
                      {kind}
                    </Label>
                  </Td>
                  <Td dataLabel="Before">{shapeOf(before)}</Td>
                  <Td dataLabel="After">{shapeOf(after)}</Td>
                  <Td dataLabel="Size" className="yard-number">
                    {bytes(size)}
                  </Td>
                </Tr>
              )),
            )}
          </Tbody>
        </Table>
      ))}
    </section>
  );
}

function shapeOf(tensor: Schemas["TensorShape"] | null): string {
  return tensor ? `${tensor.dtype} [${tensor.shape.join(", ")}]` : "–";
}
