/** All namespaces: what each holds of what it may, and how many models it has. */

import { Button, Flex, FlexItem, Label, PageSection, Title } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useState } from "react";
import { Link, useNavigate } from "react-router";

import { useMe, useModels, useNamespaces } from "../../api/queries";
import { anywhere } from "../../app/permissions";
import { Failed } from "../../components/Failed";
import { Missing } from "../../components/Missing";
import { bytes } from "../../components/quantities";
import { LoadingRows } from "../../components/Rows";
import type { Namespace } from "./calls";
import { CreateNamespaceDialog } from "./CreateNamespaceDialog";

export function Component() {
  const me = useMe().data;
  const namespaces = useNamespaces();
  const [isMaking, make] = useState(false);
  const navigate = useNavigate();
  if (me && !anywhere(me, "administer")) return <Missing needs="the role administrator in a namespace" />;
  if (namespaces.error && !namespaces.data) {
    return <Failed error={namespaces.error} retry={() => void namespaces.refetch()} />;
  }
  return (
    <>
      <PageSection>
        <Flex justifyContent={{ default: "justifyContentSpaceBetween" }} alignItems={{ default: "alignItemsCenter" }}>
          <FlexItem>
            <Title headingLevel="h1">Namespaces</Title>
            <p>Each has models, members, keys and rules of its own, and may be given a quota.</p>
          </FlexItem>
          {me?.oversees && (
            <FlexItem>
              <Button variant="primary" onClick={() => make(true)}>
                Make a namespace
              </Button>
            </FlexItem>
          )}
        </Flex>
      </PageSection>
      <PageSection isFilled aria-label="Namespaces">
        {namespaces.data ? <Rows namespaces={namespaces.data} /> : <LoadingRows words="Loading namespaces" />}
      </PageSection>
      {isMaking && (
        <CreateNamespaceDialog close={() => make(false)} done={({ name }) => navigate(`/namespaces/${name}`)} />
      )}
    </>
  );
}

function Rows({ namespaces }: { namespaces: Namespace[] }) {
  const models = useModels().data;
  const counts = new Map<string, number>();
  for (const { namespace } of models ?? []) counts.set(namespace, (counts.get(namespace) ?? 0) + 1);
  return (
    <Table aria-label="Namespaces" variant="compact">
      <Thead>
        <Tr>
          <Th>Name</Th>
          <Th>Models</Th>
          <Th>Memory</Th>
          <Th>Cores</Th>
          <Th>GPUs</Th>
          <Th>May not</Th>
        </Tr>
      </Thead>
      <Tbody>
        {namespaces.map(({ name, description, quota, usage, features, require_signature }) => (
          <Tr key={name}>
            <Td dataLabel="Name">
              <Link to={`/namespaces/${name}`}>{name}</Link>
              {description && <div className="yard-quiet">{description}</div>}
            </Td>
            <Td dataLabel="Models" className="yard-number">
              {models ? (counts.get(name) ?? 0) : ""}
            </Td>
            <Td dataLabel="Memory" className="yard-number">
              {bytes(usage.memory)} <Of limit={quota.memory === null ? null : bytes(quota.memory)} />
            </Td>
            <Td dataLabel="Cores" className="yard-number">
              {Math.round(usage.cpu * 100) / 100} <Of limit={quota.cpu} />
            </Td>
            <Td dataLabel="GPUs" className="yard-number">
              {usage.gpus} <Of limit={quota.gpus} />
            </Td>
            <Td dataLabel="May not">
              {Object.entries(features)
                .filter(([, on]) => on === false)
                .map(([feature]) => (
                  <Label key={feature} isCompact variant="outline">
                    {feature}
                  </Label>
                ))}
              {require_signature && (
                <Label isCompact variant="outline">
                  unsigned
                </Label>
              )}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function Of({ limit }: { limit: string | number | null }) {
  return <span className="yard-quiet">{limit === null ? "no limit" : `of ${limit}`}</span>;
}
