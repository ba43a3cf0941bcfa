/** A model at a glance: its conditions, what it is made of and holds, and how to call it. */

import {
  Alert,
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  CodeBlock,
  CodeBlockCode,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  Grid,
  GridItem,
  Label,
  LabelGroup,
  Tab,
  Tabs,
  TabTitleText,
} from "@patternfly/react-core";
import { useState, type ReactNode } from "react";
import { Link } from "react-router";

import type { Model } from "../../api/queries";
import { Ago } from "../../components/Ago";
import { bytes, many } from "../../components/quantities";
import { Snippet } from "../../components/Snippet";
import { sourceOf } from "../models/ModelTable";
import { Conditions } from "./Conditions";
import { LANGUAGES, snippet, type Language } from "./snippets";
import { useSampleRequest } from "./sample";

export default function Overview({ model }: { model: Model }) {
  return (
    <Grid hasGutter>
      {model.status.failure && (
        <GridItem span={12}>
          <Failure model={model} />
        </GridItem>
      )}
      <GridItem span={12} lg={5}>
        <Card isFullHeight>
          <CardHeader>
            <CardTitle component="h2">Conditions</CardTitle>
          </CardHeader>
          <CardBody>
            <Conditions model={model} />
          </CardBody>
        </Card>
      </GridItem>
      <GridItem span={12} lg={7}>
        <Card isFullHeight>
          <CardHeader>
            <CardTitle component="h2">What it is</CardTitle>
          </CardHeader>
          <CardBody>
            <Facts model={model} />
          </CardBody>
        </Card>
      </GridItem>
      <GridItem span={12}>
        <EndpointCard model={model} />
      </GridItem>
    </Grid>
  );
}

function Failure({ model }: { model: Model }) {
  const failure = model.status.failure;
  if (!failure) return null;
  return (
    <Alert variant="danger" isInline component="h2" title={failure.message}>
      {model.status.retry_at && (
        <p>
          Tried again <Ago at={model.status.retry_at} />.
        </p>
      )}
      {failure.log.length > 0 && (
        <CodeBlock>
          <CodeBlockCode>{failure.log.join("\n")}</CodeBlockCode>
        </CodeBlock>
      )}
    </Alert>
  );
}

function Facts({ model }: { model: Model }) {
  const { spec, status } = model;
  const held = status.resource_allocation;
  const labels = Object.entries(spec.labels ?? {});
  return (
    <DescriptionList columnModifier={{ default: "1Col", md: "2Col" }}>
      <Fact term="Serves">
        <code>{sourceOf(model)}</code>
        {status.artifact?.newer && (
          <div>
            <Link to={`/models/${model.namespace}/${model.name}/update`}>Version {status.artifact.newer} is there</Link>
          </div>
        )}
      </Fact>
      <Fact term="Engine">
        {spec.engine} on {spec.backend}
      </Fact>
      <Fact term="Instances">
        {status.instances_ready} of {status.instances_desired} ready
        {status.scale && !status.scale.suspended && (
          <div className="yard-quiet">
            scaled between {status.scale.min} and {status.scale.max}: {status.scale.reason}
          </div>
        )}
      </Fact>
      <Fact term="Revision">
        {status.serving_generation}
        {status.target_generation !== status.serving_generation && ` → ${status.target_generation}`}
      </Fact>
      <Fact term="Holds">
        {bytes(held.memory_resident)} of memory, {held.cpu} {held.cpu === 1 ? "core" : "cores"}
        {held.gpus > 0 && `, ${many(held.gpus, "GPU")}`}
      </Fact>
      <Fact term="Deployed">
        <Ago at={model.created_at} />
      </Fact>
      {spec.description && <Fact term="Description">{spec.description}</Fact>}
      <Fact term="Labels">
        {labels.length === 0 ? (
          <span className="yard-quiet">none</span>
        ) : (
          <LabelGroup numLabels={6}>
            {labels.map(([key, value]) => (
              <Label key={key} isCompact>
                {key}={value}
              </Label>
            ))}
          </LabelGroup>
        )}
      </Fact>
    </DescriptionList>
  );
}

function Fact({ term, children }: { term: string; children: ReactNode }) {
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>{term}</DescriptionListTerm>
      <DescriptionListDescription>{children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}

function EndpointCard({ model }: { model: Model }) {
  const [language, speak] = useState<Language>("curl");
  const path = model.status.endpoints.infer;
  const body = useSampleRequest(model);
  if (!path) return null;
  const url = `${window.location.origin}${path}`;
  return (
    <Card>
      <CardHeader>
        <CardTitle component="h2">Call it</CardTitle>
      </CardHeader>
      <CardBody>
        <Tabs activeKey={language} onSelect={(_, key) => speak(key as Language)} aria-label="Languages" isSubtab>
          {LANGUAGES.map((one) => (
            <Tab key={one} eventKey={one} title={<TabTitleText>{one}</TabTitleText>}>
              <Snippet
                label={`the ${one} call`}
                text={snippet(one, { url, body, isPublic: model.spec.public ?? false })}
              />
            </Tab>
          ))}
        </Tabs>
      </CardBody>
    </Card>
  );
}
