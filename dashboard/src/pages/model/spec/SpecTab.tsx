/** A model's spec as one would write it, and the policies that bear on it. */

import { Card, CardBody, CardHeader, CardTitle, Flex, FlexItem, Grid, GridItem } from "@patternfly/react-core";
import { Link } from "react-router";
import { stringify } from "yaml";

import type { Model } from "../../../api/queries";
import { Snippet } from "../../../components/Snippet";
import { Policies } from "./Policies";

export default function SpecTab({ model }: { model: Model }) {
  const document = { name: model.name, namespace: model.namespace, spec: written(model.spec) };
  return (
    <Grid hasGutter>
      <GridItem span={12} xl={7}>
        <Card isFullHeight>
          <CardHeader>
            <Flex
              justifyContent={{ default: "justifyContentSpaceBetween" }}
              alignItems={{ default: "alignItemsBaseline" }}
              flex={{ default: "flex_1" }}
            >
              <FlexItem>
                <CardTitle component="h2">Spec, revision {model.generation}</CardTitle>
              </FlexItem>
              <FlexItem>
                <Link to={`/models/${model.namespace}/${model.name}/update`}>Update…</Link>
              </FlexItem>
            </Flex>
          </CardHeader>
          <CardBody>
            <Snippet label="the spec" text={stringify(document)} />
          </CardBody>
        </Card>
      </GridItem>
      <GridItem span={12} xl={5}>
        <Policies model={model} />
      </GridItem>
    </Grid>
  );
}

/** Without what is not set: nobody writes that. */
function written(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(written);
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value)
    .map(([key, part]) => [key, written(part)] as const)
    .filter(([, part]) => !isNothing(part));
  return Object.fromEntries(kept);
}

function isNothing(value: unknown): boolean {
  if (value === null || value === undefined || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}
