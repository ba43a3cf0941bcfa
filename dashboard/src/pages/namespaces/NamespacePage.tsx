/** One namespace: what it holds and may use, its people and keys, its rules, and whose signatures it trusts. */

import {
  Breadcrumb,
  BreadcrumbItem,
  Button,
  Flex,
  FlexItem,
  PageSection,
  Skeleton,
  Title,
  Tooltip,
} from "@patternfly/react-core";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";

import { useMe, useModels } from "../../api/queries";
import { useMay } from "../../app/permissions";
import { Failed } from "../../components/Failed";
import { Missing } from "../../components/Missing";
import { PageTabs } from "../../components/PageTabs";
import { many } from "../../components/quantities";
import { Keys } from "../access/Keys";
import { Members } from "../access/Members";
import { Rules } from "../alerts/Rules";
import { Webhooks } from "../alerts/Webhooks";
import { useOneNamespace } from "./calls";
import { DeleteNamespaceDialog } from "./DeleteNamespaceDialog";
import { Overview } from "./Overview";
import { Signatures } from "./Signatures";

export function Component() {
  const { name = "", tab = "" } = useParams();
  const me = useMe().data;
  const may = useMay();
  const namespace = useOneNamespace(name);
  if (me && !may("administer", name)) return <Missing needs={`the role administrator in namespace ${name}`} />;
  if (namespace.error && !namespace.data) {
    return <Failed error={namespace.error} retry={() => void namespace.refetch()} />;
  }
  const { data } = namespace;
  return (
    <>
      <PageSection>
        <Breadcrumb>
          <BreadcrumbItem>
            <Link to="/namespaces">Namespaces</Link>
          </BreadcrumbItem>
          <BreadcrumbItem isActive>{name}</BreadcrumbItem>
        </Breadcrumb>
        <Flex justifyContent={{ default: "justifyContentSpaceBetween" }} alignItems={{ default: "alignItemsCenter" }}>
          <FlexItem>
            <Title headingLevel="h1">{name}</Title>
            {data ? data.description && <p>{data.description}</p> : <Skeleton width="20rem" />}
          </FlexItem>
          <FlexItem>
            <Delete name={name} />
          </FlexItem>
        </Flex>
      </PageSection>
      <PageTabs
        base={`/namespaces/${name}`}
        tab={tab}
        label={`About ${name}`}
        tabs={[
          {
            path: "",
            words: "Overview",
            content: () => (data ? <Overview namespace={data} /> : <Skeleton height="16rem" />),
          },
          { path: "members", words: "Members", content: () => <Members scope={name} /> },
          { path: "keys", words: "API keys", content: () => <Keys scope={name} /> },
          { path: "rules", words: "Alert rules", content: () => <Rules scope={name} /> },
          { path: "webhooks", words: "Webhooks", content: () => <Webhooks scope={name} /> },
          { path: "signatures", words: "Signatures", content: () => <Signatures namespace={name} /> },
        ]}
      />
    </>
  );
}

function Delete({ name }: { name: string }) {
  const [isAsking, ask] = useState(false);
  const me = useMe().data;
  const models = useModels().data;
  const navigate = useNavigate();
  const left = (models ?? []).filter(({ namespace }) => namespace === name).length;
  const why = !me?.oversees
    ? "It takes the role administrator in all namespaces."
    : name === "default"
      ? "The default namespace stays: the short paths mean it."
      : left > 0
        ? `It has ${many(left, "model")}: delete ${left === 1 ? "it" : "them"} first.`
        : "";
  const button = (
    <Button variant="secondary" isDanger isAriaDisabled={why !== ""} onClick={() => !why && ask(true)}>
      Delete
    </Button>
  );
  return (
    <>
      {why ? <Tooltip content={why}>{button}</Tooltip> : button}
      {isAsking && <DeleteNamespaceDialog name={name} close={() => ask(false)} done={() => navigate("/namespaces")} />}
    </>
  );
}
