/** One registered model: its versions, what its aliases mean, where the versions come from, and how they compare. */

import "./registry.css";

import {
  Alert,
  Breadcrumb,
  BreadcrumbItem,
  Content,
  Flex,
  FlexItem,
  Label,
  LabelGroup,
  PageSection,
  Skeleton,
  Tab,
  Tabs,
  TabTitleText,
  Title,
} from "@patternfly/react-core";
import { useState } from "react";
import { Link, useNavigate, useParams, useSearchParams } from "react-router";

import { Ago } from "../../components/Ago";
import { Failed } from "../../components/Failed";
import { Refusable } from "../../components/Refusable";
import { Aliases } from "./Aliases";
import { Compare } from "./Compare";
import { Lineage } from "./Lineage";
import { MoveAlias } from "./MoveAlias";
import { useNeedsEdit } from "./needs";
import { useRegisteredModel, type Place, type Registered } from "./queries";
import { DeleteRegistered, Restore } from "./Removing";
import { Versions } from "./Versions";

const VIEWS = [
  { key: "versions", words: "Versions", content: Versions },
  { key: "aliases", words: "Aliases", content: Aliases },
  { key: "lineage", words: "Lineage", content: Lineage },
  { key: "compare", words: "Compare", content: Compare },
] as const;

export function Component() {
  const { namespace = "", name = "" } = useParams();
  const place = { namespace, name };
  const model = useRegisteredModel(place);
  const [parameters, set] = useSearchParams();
  if (model.error && !model.data) return <Failed error={model.error} retry={() => void model.refetch()} />;
  const shown = VIEWS.find(({ key }) => key === parameters.get("view")) ?? VIEWS[0];
  return (
    <>
      <PageSection>
        <Breadcrumb>
          <BreadcrumbItem>
            <Link to="/registry">Registry</Link>
          </BreadcrumbItem>
          <BreadcrumbItem>{namespace}</BreadcrumbItem>
          <BreadcrumbItem isActive>{name}</BreadcrumbItem>
        </Breadcrumb>
        {model.data ? <Head model={model.data} place={place} /> : <Skeleton width="20rem" fontSize="2xl" />}
      </PageSection>
      <PageSection type="tabs" hasBodyWrapper={false}>
        <Tabs
          activeKey={shown.key}
          onSelect={(_, key) => set({ view: String(key) }, { replace: true })}
          aria-label={`About ${name}`}
          role="region"
          usePageInsets
        >
          {VIEWS.map(({ key, words }) => (
            <Tab key={key} eventKey={key} tabContentId={`view-${key}`} title={<TabTitleText>{words}</TabTitleText>} />
          ))}
        </Tabs>
      </PageSection>
      <PageSection isFilled id={`view-${shown.key}`} aria-label={shown.words}>
        <shown.content place={place} />
      </PageSection>
    </>
  );
}

function Head({ model, place }: { model: Registered; place: Place }) {
  const [dialog, show] = useState<"move" | "delete" | null>(null);
  const navigate = useNavigate();
  const needs = useNeedsEdit(place);
  const labels = Object.entries(model.labels);
  return (
    <>
      <Flex justifyContent={{ default: "justifyContentSpaceBetween" }} alignItems={{ default: "alignItemsCenter" }}>
        <FlexItem>
          <Flex alignItems={{ default: "alignItemsCenter" }} columnGap={{ default: "columnGapMd" }}>
            <Title headingLevel="h1">{model.name}</Title>
            {model.series && <Label isCompact>{model.series}</Label>}
            {model.task && <span className="yard-quiet">{model.task}</span>}
            {model.licence && <span className="yard-quiet">{model.licence}</span>}
          </Flex>
          {model.description && <Content component="p">{model.description}</Content>}
          {labels.length > 0 && (
            <LabelGroup numLabels={6} aria-label="Labels">
              {labels.map(([key, value]) => (
                <Label key={key} isCompact>
                  {key}={value}
                </Label>
              ))}
            </LabelGroup>
          )}
        </FlexItem>
        {!model.deleted_at && (
          <FlexItem>
            <Flex columnGap={{ default: "columnGapSm" }}>
              <Refusable why={needs} variant="primary" onClick={() => show("move")}>
                Promote…
              </Refusable>
              <Refusable why={needs} variant="secondary" isDanger onClick={() => show("delete")}>
                Delete…
              </Refusable>
            </Flex>
          </FlexItem>
        )}
      </Flex>
      {model.deleted_at && (
        <Alert
          component="h2"
          isInline
          variant="warning"
          title={`${model.name} is deleted`}
          actionLinks={<Restore place={place} version="" />}
        >
          With its versions it can be restored. {model.purge_at && <Ago at={model.purge_at} />} it is gone for good.
        </Alert>
      )}
      {dialog === "move" && <MoveAlias place={place} close={() => show(null)} />}
      {dialog === "delete" && (
        <DeleteRegistered place={place} version="" close={() => show(null)} done={() => navigate("/registry")} />
      )}
    </>
  );
}
