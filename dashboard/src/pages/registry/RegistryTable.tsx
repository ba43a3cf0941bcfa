/** The table of registered models. What is beside a model's own record is asked for by the rows that are shown. */

import { LabelGroup, Skeleton } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Link } from "react-router";

import { useModels } from "../../api/queries";
import { Ago } from "../../components/Ago";
import { bytes } from "../../components/quantities";
import { AliasLabel } from "./AliasLabel";
import { frameworkOf } from "./framework";
import { useAliases, useNewest, type Registered } from "./queries";
import { Restore } from "./Removing";
import { servedOf } from "./served";

export function RegistryTable({ models, isDeleted }: { models: Registered[]; isDeleted: boolean }) {
  return (
    <Table aria-label="Registered models" variant="compact" gridBreakPoint="grid-lg">
      <Thead>
        <Tr>
          <Th>Name</Th>
          {isDeleted ? (
            <>
              <Th>Deleted</Th>
              <Th>Gone for good</Th>
              <Th screenReaderText="Actions" />
            </>
          ) : (
            <>
              <Th modifier="nowrap">Newest version</Th>
              <Th>Aliases</Th>
              <Th>Series</Th>
              <Th modifier="nowrap">Framework</Th>
              <Th>Size</Th>
              <Th modifier="nowrap">Served by</Th>
              <Th modifier="nowrap">Last change</Th>
            </>
          )}
        </Tr>
      </Thead>
      <Tbody>
        {models.map((model) =>
          isDeleted ? <Gone key={model.uid} model={model} /> : <Row key={model.uid} model={model} />,
        )}
      </Tbody>
    </Table>
  );
}

function Row({ model }: { model: Registered }) {
  const newest = useNewest(model);
  const aliases = useAliases(model).data;
  const served = servedOf(useModels().data ?? [], model);
  const path = `/registry/${model.namespace}/${model.name}`;
  const version = newest.data;
  return (
    <Tr>
      <Td dataLabel="Name" className="yard-cell-name">
        <Link to={path}>{model.name}</Link>
        <div className="yard-quiet">{model.namespace}</div>
      </Td>
      <Td dataLabel="Newest version" className="yard-number">
        {version === undefined ? (
          <Skeleton width="4rem" screenreaderText="Loading" />
        ) : version === null ? (
          <span className="yard-quiet">none yet</span>
        ) : (
          <Link to={`${path}/${version.version}`}>{version.version}</Link>
        )}
      </Td>
      <Td dataLabel="Aliases">
        {aliases && aliases.length > 0 && (
          <LabelGroup numLabels={3} aria-label={`Aliases of ${model.name}`}>
            {aliases.map(({ alias, version: at }) => (
              <AliasLabel key={alias} alias={alias} version={at} />
            ))}
          </LabelGroup>
        )}
      </Td>
      <Td dataLabel="Series">{model.series || "–"}</Td>
      <Td dataLabel="Framework">{version?.framework ? frameworkOf(version.framework) : "–"}</Td>
      <Td dataLabel="Size" className="yard-number">
        {version ? bytes(version.size) : "–"}
      </Td>
      <Td dataLabel="Served by">
        {served.length === 0
          ? "–"
          : served.slice(0, 3).map(({ uid, namespace, name }) => (
              <div key={uid}>
                <Link to={`/models/${namespace}/${name}`}>{name}</Link>
              </div>
            ))}
        {served.length > 3 && <Link to={path}>and {served.length - 3} more</Link>}
      </Td>
      <Td dataLabel="Last change">
        <Ago at={model.updated_at} />
      </Td>
    </Tr>
  );
}

function Gone({ model }: { model: Registered }) {
  return (
    <Tr>
      <Td dataLabel="Name">
        <Link to={`/registry/${model.namespace}/${model.name}`}>{model.name}</Link>
        <div className="yard-quiet">{model.namespace}</div>
      </Td>
      <Td dataLabel="Deleted">{model.deleted_at && <Ago at={model.deleted_at} />}</Td>
      <Td dataLabel="Gone for good">{model.purge_at && <Ago at={model.purge_at} />}</Td>
      <Td isActionCell>
        <Restore place={model} version="" />
      </Td>
    </Tr>
  );
}
