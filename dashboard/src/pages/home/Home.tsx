/** What is going on: models by state, what is held, who waits, what needs a look, and what has just happened. */

import {
  Button,
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  Flex,
  FlexItem,
  Gallery,
  Grid,
  GridItem,
  PageSection,
  Title,
} from "@patternfly/react-core";
import { Link } from "react-router";

import { useCapacity, useEvents, useModels } from "../../api/queries";
import { useTimetables } from "../../api/schedules";
import { useNamespace } from "../../app/namespace";
import { Failed } from "../../components/Failed";
import { NamespacePicker } from "../../components/NamespacePicker";
import { Attention } from "./Attention";
import { ByState } from "./ByState";
import { ComingUp } from "./ComingUp";
import { RecentEvents } from "./RecentEvents";
import { SiteCard } from "./SiteCard";
import { Traffic } from "./Traffic";

export function Component() {
  const namespace = useNamespace();
  const models = useModels();
  const capacity = useCapacity();
  const timetables = useTimetables();
  const events = useEvents(namespace ? { namespace } : {}, 12);
  if (models.error && !models.data) return <Failed error={models.error} retry={() => void models.refetch()} />;
  const mine = (models.data ?? []).filter((model) => !namespace || model.namespace === namespace);
  return (
    <>
      <PageSection>
        <Flex justifyContent={{ default: "justifyContentSpaceBetween" }} alignItems={{ default: "alignItemsCenter" }}>
          <FlexItem>
            <Title headingLevel="h1">{namespace ? `Namespace ${namespace}` : "All namespaces"}</Title>
          </FlexItem>
          <FlexItem>
            <Flex columnGap={{ default: "columnGapMd" }}>
              <NamespacePicker />
              <Button variant="primary" component={(props) => <Link {...props} to="/deploy" />}>
                Deploy a model
              </Button>
            </Flex>
          </FlexItem>
        </Flex>
      </PageSection>
      <PageSection isFilled aria-label="Summary">
        <Grid hasGutter>
          <GridItem span={12}>
            <ByState models={mine} isLoading={!models.data} />
          </GridItem>
          <GridItem span={12}>
            <Traffic namespace={namespace} />
          </GridItem>
          <GridItem span={12} xl={7}>
            <Grid hasGutter>
              <GridItem>
                <Attention models={mine} isLoading={!models.data} />
              </GridItem>
              <GridItem>
                <Card>
                  <CardHeader>
                    <CardTitle component="h2">Coming up</CardTitle>
                  </CardHeader>
                  <CardBody>
                    <ComingUp
                      timetables={timetables.data?.filter((one) => !namespace || one.namespace === namespace)}
                      error={timetables.error}
                    />
                  </CardBody>
                </Card>
              </GridItem>
              <GridItem>
                <Card isFullHeight>
                  <CardHeader>
                    <CardTitle component="h2">Recent events</CardTitle>
                  </CardHeader>
                  <CardBody>
                    <RecentEvents events={events.data} />
                  </CardBody>
                </Card>
              </GridItem>
            </Grid>
          </GridItem>
          <GridItem span={12} xl={5}>
            <Gallery hasGutter minWidths={{ default: "100%" }}>
              {(capacity.data ?? []).map((site) => (
                <SiteCard key={site.site} site={site} isOnly={capacity.data?.length === 1} />
              ))}
            </Gallery>
          </GridItem>
        </Grid>
      </PageSection>
    </>
  );
}
