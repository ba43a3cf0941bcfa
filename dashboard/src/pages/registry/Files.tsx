/** The files of a version, and what a pull of them would fetch. */

import { Content, Flex, FlexItem, Skeleton } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useState } from "react";

import { ErrorAlert } from "../../components/Failed";
import { PickOne } from "../../components/Pick";
import { bytes, bytesOf } from "../../components/quantities";
import { Snippet } from "../../components/Snippet";
import { useDiff, useFiles, useVersions, type Place, type Version } from "./queries";

export function Files({ place, version }: { place: Place; version: Version }) {
  const files = useFiles(place, version.version);
  if (files.error && !files.data) return <ErrorAlert title="The files could not be listed" error={files.error} />;
  if (!files.data) return <Skeleton height="8rem" screenreaderText="Loading the files" />;
  return (
    <>
      <Table aria-label="Files" variant="compact">
        <Thead>
          <Tr>
            <Th>File</Th>
            <Th>Kind</Th>
            <Th>Size</Th>
            <Th>Tensors</Th>
            <Th>SHA-256</Th>
          </Tr>
        </Thead>
        <Tbody>
          {files.data.map(({ path, size, sha256, kind, tensors }) => (
            <Tr key={path}>
              <Td dataLabel="File" modifier="breakWord">
                {path}
              </Td>
              <Td dataLabel="Kind">{kind}</Td>
              <Td dataLabel="Size" className="yard-number">
                {bytes(size)}
              </Td>
              <Td dataLabel="Tensors" className="yard-number">
                {tensors || "–"}
              </Td>
              <Td dataLabel="SHA-256">
                <code title={sha256}>{sha256.slice(0, 12)}…</code>
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
      <Pull place={place} version={version} />
    </>
  );
}

/** What a machine fetches depends on what it has: nothing, or an earlier version. */
function Pull({ place, version }: { place: Place; version: Version }) {
  const others = (useVersions(place).data ?? []).filter((one) => one.version !== version.version);
  const [has, setHas] = useState("");
  const diff = useDiff(place, has, has && version.version).data;
  const fetched = has ? diff?.content?.fetch : bytesOf(version.size);
  return (
    <section aria-label="A pull" className="yard-pull">
      <Flex columnGap={{ default: "columnGapMd" }} alignItems={{ default: "alignItemsCenter" }}>
        <FlexItem>A machine that has</FlexItem>
        <FlexItem>
          <PickOne
            label="What it has already"
            value={has}
            onPick={setHas}
            choices={[
              { value: "", words: "nothing of it" },
              ...others.map((one) => ({ value: one.version, words: one.version })),
            ]}
          />
        </FlexItem>
        <FlexItem role="status" className="yard-number">
          {has && diff && !diff.content
            ? "cannot be told: the store has not both."
            : fetched === undefined
              ? "…"
              : `fetches ${has ? "" : "at most "}${bytes(fetched)}.`}
        </FlexItem>
      </Flex>
      {has && (
        <Content component="small">
          Less where the push kept what changed in each tensor, and where the chunks are compressed.
        </Content>
      )}
      <Snippet label="the command" text={`modelyard pull ${place.name}@${version.version} FOLDER`} />
    </section>
  );
}
