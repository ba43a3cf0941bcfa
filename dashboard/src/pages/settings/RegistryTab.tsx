/** The store of registered models, and the cache of this machine: what they hold, and what may go. */

import {
  Button,
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  Grid,
  GridItem,
  Label,
  Progress,
} from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useState } from "react";
import { Link } from "react-router";

import type { Schemas } from "../../api/client";
import { Ago } from "../../components/Ago";
import { Failed } from "../../components/Failed";
import { bytes } from "../../components/quantities";
import { LoadingRows } from "../../components/Rows";
import { SetBy } from "./About";
import { useCache, useStore } from "./calls";
import { CleanUpDialog, CollectDialog } from "./TidyDialogs";

type Cache = Schemas["Cache"];

export function RegistryTab() {
  const store = useStore();
  const cache = useCache();
  const [dialog, show] = useState<"collect" | "clean" | null>(null);
  const error = store.error ?? cache.error;
  if (error && !(store.data && cache.data)) return <Failed error={error} retry={() => void cache.refetch()} />;
  if (!store.data || !cache.data) return <LoadingRows rows={8} words="Loading the store and the cache" />;
  return (
    <Grid hasGutter>
      <GridItem span={12} lg={6}>
        <Card isFullHeight>
          <CardHeader
            actions={{
              actions: (
                <Button variant="secondary" onClick={() => show("collect")}>
                  Collect…
                </Button>
              ),
            }}
          >
            <CardTitle component="h2">Store</CardTitle>
          </CardHeader>
          <CardBody>
            <DescriptionList isHorizontal isCompact>
              <DescriptionListGroup>
                <DescriptionListTerm>Where</DescriptionListTerm>
                <DescriptionListDescription className="yard-break">
                  {store.data.url}
                  <SetBy name="MODELYARD_REGISTRY_URL" />
                </DescriptionListDescription>
              </DescriptionListGroup>
              <DescriptionListGroup>
                <DescriptionListTerm>Its id</DescriptionListTerm>
                <DescriptionListDescription className="yard-break">{store.data.id}</DescriptionListDescription>
              </DescriptionListGroup>
            </DescriptionList>
          </CardBody>
        </Card>
      </GridItem>
      <GridItem span={12} lg={6}>
        <CacheCard cache={cache.data} clean={() => show("clean")} />
      </GridItem>
      <GridItem span={12}>
        <Card>
          <CardHeader>
            <CardTitle component="h2">Laid out to be served</CardTitle>
          </CardHeader>
          <CardBody>
            {cache.data.folders.length === 0 ? (
              <p className="yard-quiet">
                Nothing. Versions of <Link to="/registry">registered models</Link> are laid out when a model of them
                starts.
              </p>
            ) : (
              <FolderTable cache={cache.data} />
            )}
          </CardBody>
        </Card>
      </GridItem>
      {dialog === "collect" && <CollectDialog close={() => show(null)} />}
      {dialog === "clean" && <CleanUpDialog limit={cache.data.limit} close={() => show(null)} />}
    </Grid>
  );
}

function CacheCard({ cache, clean }: { cache: Cache; clean: () => void }) {
  const { hits, misses, size, limit, shared, spared } = cache;
  return (
    <Card isFullHeight>
      <CardHeader
        actions={{
          actions: (
            <Button variant="secondary" onClick={clean}>
              Clean up…
            </Button>
          ),
        }}
      >
        <CardTitle component="h2">Cache of this machine</CardTitle>
      </CardHeader>
      <CardBody>
        {limit !== null && (
          <Progress
            value={limit > 0 ? Math.min(100, (size / limit) * 100) : 100}
            label={`${bytes(size)} of ${bytes(limit)}`}
            measureLocation="top"
            title="Size"
            size="sm"
            aria-label="Size of the cache"
          />
        )}
        <DescriptionList isHorizontal isCompact>
          <DescriptionListGroup>
            <DescriptionListTerm>Holds</DescriptionListTerm>
            <DescriptionListDescription className="yard-number">
              {bytes(size)}
              {limit === null && ", no limit"}
              {shared > 0 && `, and ${bytes(shared)} that the store has on this disk`}
              <SetBy name="MODELYARD_CACHE_SIZE" />
            </DescriptionListDescription>
          </DescriptionListGroup>
          <DescriptionListGroup>
            <DescriptionListTerm>Hits</DescriptionListTerm>
            <DescriptionListDescription className="yard-number">
              {hits} of {hits + misses}, {bytes(spared)} spared since <Ago at={cache.since} />
            </DescriptionListDescription>
          </DescriptionListGroup>
          <DescriptionListGroup>
            <DescriptionListTerm>Where</DescriptionListTerm>
            <DescriptionListDescription className="yard-break">{cache.path}</DescriptionListDescription>
          </DescriptionListGroup>
        </DescriptionList>
      </CardBody>
    </Card>
  );
}

function FolderTable({ cache }: { cache: Cache }) {
  return (
    <Table aria-label="Versions in the cache" variant="compact">
      <Thead>
        <Tr>
          <Th>Version</Th>
          <Th>Size</Th>
          <Th>Frees</Th>
          <Th>Last used</Th>
          <Th>Stays for</Th>
        </Tr>
      </Thead>
      <Tbody>
        {cache.folders.map((folder) => (
          <Tr key={folder.manifest + folder.layout}>
            <Td dataLabel="Version" modifier="breakWord">
              {folder.versions.map(({ namespace, name, version }) => (
                <div key={namespace + name + version}>
                  <Link to={`/registry/${namespace}/${name}/${version}`}>
                    {name}@{version}
                  </Link>{" "}
                  <span className="yard-quiet">{namespace}</span>
                </div>
              ))}
              {folder.versions.length === 0 && <code>{folder.manifest.slice(0, 24)}…</code>}
            </Td>
            <Td dataLabel="Size" className="yard-number">
              {bytes(folder.size)}
            </Td>
            <Td dataLabel="Frees" className="yard-number">
              {bytes(folder.own)}
            </Td>
            <Td dataLabel="Last used">
              <Ago at={folder.used_at} />
            </Td>
            <Td dataLabel="Stays for">
              {[...folder.models, ...folder.pinned, ...folder.preloaded].map((reason) => (
                <Label key={reason} isCompact variant="outline">
                  {reason}
                </Label>
              ))}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
