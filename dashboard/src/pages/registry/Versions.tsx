/** The versions of a registered model, the highest first. */

import { Content, Flex, LabelGroup, Skeleton, ToggleGroup, ToggleGroupItem } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useState } from "react";
import { Link } from "react-router";

import { useModels } from "../../api/queries";
import { Ago } from "../../components/Ago";
import { Failed } from "../../components/Failed";
import { bytes } from "../../components/quantities";
import { Snippet } from "../../components/Snippet";
import { AliasLabel } from "./AliasLabel";
import { frameworkOf } from "./framework";
import { useAliases, useVersions, type Place, type Version } from "./queries";
import { Restore } from "./Removing";
import { servedOf } from "./served";
import { SignedLabel } from "./Signatures";
import { VersionActions } from "./VersionActions";

export function Versions({ place }: { place: Place }) {
  const [deleted, setDeleted] = useState(false);
  const versions = useVersions(place, deleted);
  if (versions.error && !versions.data) {
    return <Failed error={versions.error} retry={() => void versions.refetch()} />;
  }
  return (
    <Flex direction={{ default: "column" }} rowGap={{ default: "rowGapMd" }}>
      <ToggleGroup aria-label="Which versions">
        <ToggleGroupItem text="Present" isSelected={!deleted} onChange={() => setDeleted(false)} />
        <ToggleGroupItem text="Deleted" isSelected={deleted} onChange={() => setDeleted(true)} />
      </ToggleGroup>
      {!versions.data ? (
        <Skeleton height="12rem" width="100%" screenreaderText="Loading versions" />
      ) : versions.data.length > 0 ? (
        <VersionTable place={place} versions={versions.data} />
      ) : deleted ? (
        <Content component="p">No version is deleted.</Content>
      ) : (
        <>
          <Content component="p">It has no version yet. Push one:</Content>
          <Snippet label="the command" text={`modelyard push model.onnx ${place.name}@1.0.0`} />
        </>
      )}
    </Flex>
  );
}

function VersionTable({ place, versions }: { place: Place; versions: Version[] }) {
  const aliases = useAliases(place).data ?? [];
  const served = servedOf(useModels().data ?? [], place);
  const path = `/registry/${place.namespace}/${place.name}`;
  return (
    <Table aria-label="Versions" variant="compact" gridBreakPoint="grid-lg">
      <Thead>
        <Tr>
          <Th>Version</Th>
          <Th>Aliases</Th>
          <Th>Metrics</Th>
          <Th modifier="nowrap">Framework</Th>
          <Th>Size</Th>
          <Th>Signed</Th>
          <Th modifier="nowrap">Served by</Th>
          <Th>Published</Th>
          <Th screenReaderText="Actions" />
        </Tr>
      </Thead>
      <Tbody>
        {versions.map((version) => {
          const own = aliases.filter((alias) => alias.version === version.version);
          return (
            <Tr key={version.version}>
              <Td dataLabel="Version" className="yard-number">
                <Link to={`${path}/${version.version}`}>{version.version}</Link>
                {version.description && <div className="yard-quiet">{version.description}</div>}
              </Td>
              <Td dataLabel="Aliases">
                {own.length > 0 && (
                  <LabelGroup numLabels={4} aria-label={`Aliases of ${version.version}`}>
                    {own.map(({ alias }) => (
                      <AliasLabel key={alias} alias={alias} />
                    ))}
                  </LabelGroup>
                )}
              </Td>
              <Td dataLabel="Metrics" className="yard-number">
                {Object.entries(version.metrics)
                  .slice(0, 3)
                  .map(([metric, value]) => (
                    <div key={metric}>
                      <span className="yard-quiet">{metric}</span> {value}
                    </div>
                  ))}
              </Td>
              <Td dataLabel="Framework">{version.framework ? frameworkOf(version.framework) : "–"}</Td>
              <Td dataLabel="Size" className="yard-number">
                {bytes(version.size)}
              </Td>
              <Td dataLabel="Signed">
                <div>{version.deleted_at ? "–" : <SignedLabel place={place} version={version.version} />}</div>
              </Td>
              <Td dataLabel="Served by">
                {served
                  .filter((model) => model.status.artifact?.version === version.version)
                  .map(({ uid, namespace, name }) => (
                    <div key={uid}>
                      <Link to={`/models/${namespace}/${name}`}>{name}</Link>
                    </div>
                  ))}
              </Td>
              <Td dataLabel="Published">
                <Ago at={version.published_at} />
                <div className="yard-quiet">by {version.published_by}</div>
              </Td>
              <Td isActionCell>
                {version.deleted_at ? (
                  <Restore place={place} version={version.version} />
                ) : (
                  <VersionActions place={place} version={version.version} />
                )}
              </Td>
            </Tr>
          );
        })}
      </Tbody>
    </Table>
  );
}
