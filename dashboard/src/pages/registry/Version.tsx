/** One version: what it is, what is said of it, its files, and who vouches for it. */

import "./registry.css";

import {
  Alert,
  Breadcrumb,
  BreadcrumbItem,
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  Flex,
  FlexItem,
  Grid,
  GridItem,
  Label,
  LabelGroup,
  PageSection,
  Skeleton,
  Title,
} from "@patternfly/react-core";
import type { ReactNode } from "react";
import { Link, useParams } from "react-router";

import type { Schemas } from "../../api/client";
import { useModels } from "../../api/queries";
import { Ago } from "../../components/Ago";
import { Failed } from "../../components/Failed";
import { bytes, many } from "../../components/quantities";
import { AliasLabel } from "./AliasLabel";
import { frameworkOf } from "./framework";
import { Files } from "./Files";
import { Markdown } from "./Markdown";
import { number } from "./metrics";
import { useAliases, useVersion, type Place } from "./queries";
import { Restore } from "./Removing";
import { servedOf } from "./served";
import { Signatures } from "./Signatures";
import { VersionActions } from "./VersionActions";

type Full = Schemas["ModelVersionWithCard"];

export function Component() {
  const { namespace = "", name = "", version: wanted = "" } = useParams();
  const place = { namespace, name };
  const found = useVersion(place, wanted);
  const path = `/registry/${namespace}/${name}`;
  if (found.error && !found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const version = found.data;
  return (
    <>
      <PageSection>
        <Breadcrumb>
          <BreadcrumbItem>
            <Link to="/registry">Registry</Link>
          </BreadcrumbItem>
          <BreadcrumbItem>{namespace}</BreadcrumbItem>
          <BreadcrumbItem>
            <Link to={path}>{name}</Link>
          </BreadcrumbItem>
          <BreadcrumbItem isActive>{wanted}</BreadcrumbItem>
        </Breadcrumb>
        {version ? <Head version={version} place={place} /> : <Skeleton width="20rem" fontSize="2xl" />}
      </PageSection>
      <PageSection isFilled aria-label={`${name} ${wanted}`}>
        {version ? (
          <Grid hasGutter>
            <GridItem span={12} lg={7}>
              <Part title="What it is">
                <Facts version={version} place={place} />
              </Part>
            </GridItem>
            <GridItem span={12} lg={5}>
              <Part title="What it takes and gives">
                <Tensors title="Inputs" tensors={version.signature.inputs ?? []} />
                <Tensors title="Outputs" tensors={version.signature.outputs ?? []} />
              </Part>
            </GridItem>
            {!version.deleted_at && (
              <>
                <GridItem span={12}>
                  <Part title="Signatures">
                    <Signatures place={place} version={wanted} />
                  </Part>
                </GridItem>
                <GridItem span={12}>
                  <Part title="Files">
                    <Files place={place} version={version} />
                  </Part>
                </GridItem>
              </>
            )}
            {version.card && (
              <GridItem span={12}>
                <Part title="Model card">
                  <Markdown text={version.card} />
                </Part>
              </GridItem>
            )}
          </Grid>
        ) : (
          <Skeleton height="24rem" screenreaderText="Loading the version" />
        )}
      </PageSection>
    </>
  );
}

function Part({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Card isFullHeight>
      <CardHeader>
        <CardTitle component="h2">{title}</CardTitle>
      </CardHeader>
      <CardBody>{children}</CardBody>
    </Card>
  );
}

function Head({ version, place }: { version: Full; place: Place }) {
  const aliases = (useAliases(place).data ?? []).filter((alias) => alias.version === version.version);
  return (
    <>
      <Flex justifyContent={{ default: "justifyContentSpaceBetween" }} alignItems={{ default: "alignItemsCenter" }}>
        <FlexItem>
          <Flex alignItems={{ default: "alignItemsCenter" }} columnGap={{ default: "columnGapMd" }}>
            <Title headingLevel="h1">
              {version.name} <span className="yard-number">{version.version}</span>
            </Title>
            {aliases.map(({ alias }) => (
              <AliasLabel key={alias} alias={alias} />
            ))}
          </Flex>
          <p>
            {version.description}{" "}
            <span className="yard-quiet">
              published <Ago at={version.published_at} /> by {version.published_by}
              {version.reason && `: ${version.reason}`}
            </span>
          </p>
        </FlexItem>
        {!version.deleted_at && (
          <FlexItem>
            <VersionActions place={place} version={version.version} toggle="Actions" />
          </FlexItem>
        )}
      </Flex>
      {version.deleted_at && (
        <Alert
          component="h2"
          isInline
          variant="warning"
          title={`${version.version} is deleted`}
          actionLinks={<Restore place={place} version={version.version} />}
        >
          It can be restored. {version.purge_at && <Ago at={version.purge_at} />} it is gone for good.
        </Alert>
      )}
    </>
  );
}

function Facts({ version, place }: { version: Full; place: Place }) {
  const served = servedOf(useModels().data ?? [], place).filter(
    (model) => model.status.artifact?.version === version.version,
  );
  const { lineage } = version;
  const labels = Object.entries(version.labels);
  const metrics = Object.entries(version.metrics);
  return (
    <DescriptionList isCompact columnModifier={{ default: "1Col", md: "2Col" }}>
      <Fact term="Framework">{version.framework && frameworkOf(version.framework)}</Fact>
      <Fact term="Size">
        {bytes(version.size)} in {many(version.files, "file")}
      </Fact>
      <Fact term="Served by">
        {served.map(({ uid, namespace, name }) => (
          <div key={uid}>
            <Link to={`/models/${namespace}/${name}`}>{name}</Link>
          </div>
        ))}
      </Fact>
      <Fact term="Metrics">
        {metrics.map(([metric, value]) => (
          <div key={metric} className="yard-number">
            {metric} {number(value)}
          </div>
        ))}
      </Fact>
      <Fact term="Made of">{lineage.parent}</Fact>
      <Fact term="Data set">{lineage.dataset}</Fact>
      <Fact term="Training run">{lineage.training_run}</Fact>
      <Fact term="Code">{lineage.code_revision}</Fact>
      <Fact term="Licence">{version.licence}</Fact>
      <Fact term="Trusted in it">{version.trust.join(", ")}</Fact>
      <Fact term="Dependencies">{version.dependencies.join(", ")}</Fact>
      <Fact term="Labels">
        {labels.length > 0 && (
          <LabelGroup numLabels={6} aria-label="Labels">
            {labels.map(([key, value]) => (
              <Label key={key} isCompact>
                {key}={value}
              </Label>
            ))}
          </LabelGroup>
        )}
      </Fact>
      <Fact term="Files from">{lineage.source}</Fact>
      <Fact term="Digest">
        <code className="yard-digest">{version.manifest}</code>
      </Fact>
    </DescriptionList>
  );
}

/** Nothing where there is nothing to say. */
function Fact({ term, children }: { term: string; children: ReactNode }) {
  if (!children || (Array.isArray(children) && children.length === 0)) return null;
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>{term}</DescriptionListTerm>
      <DescriptionListDescription>{children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}

function Tensors({ title, tensors }: { title: string; tensors: Schemas["TensorSignature"][] }) {
  return (
    <section aria-label={title} className="yard-tensors">
      <Title headingLevel="h3" size="md">
        {title}
      </Title>
      {tensors.length === 0 ? (
        <p className="yard-quiet">Not said; a model that serves says it itself.</p>
      ) : (
        <ul>
          {tensors.map(({ name, datatype, shape }) => (
            <li key={name}>
              {name}{" "}
              <span className="yard-quiet yard-number">
                {datatype} [{(shape ?? []).map((size) => (size < 0 ? "any" : size)).join(", ")}]
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
