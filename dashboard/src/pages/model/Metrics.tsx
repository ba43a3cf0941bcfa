/** A model's metrics over time: as charts with marks for what happened to it, or as numbers. */

import {
  Alert,
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  Flex,
  FlexItem,
  Grid,
  GridItem,
  Skeleton,
  ToggleGroup,
  ToggleGroupItem,
} from "@patternfly/react-core";
import { useSearchParams } from "react-router";

import { ErrorAlert } from "../../components/Failed";
import { RANGES, rangeOf, settled, total, useHistory } from "./metrics/history";
import { Charts } from "./metrics/Charts";
import { Happened } from "./metrics/Happened";
import { Numbers } from "./metrics/Numbers";
import type { TabContent } from "./tabs";

const Metrics: TabContent = ({ model }) => {
  const [search, choose] = useSearchParams();
  const range = rangeOf(search.get("range"));
  const asNumbers = search.get("as") === "numbers";
  const told = useHistory(model.namespace, model.name, range);
  const set = (name: string, value: string) =>
    choose(
      (before) => {
        const after = new URLSearchParams(before);
        after.set(name, value);
        return after;
      },
      { replace: true },
    );
  const history = told.data && settled(told.data);
  return (
    <Flex direction={{ default: "column" }} gap={{ default: "gapMd" }}>
      <FlexItem>
        <Flex justifyContent={{ default: "justifyContentSpaceBetween" }}>
          <ToggleGroup aria-label="How far back">
            {RANGES.map(({ key, words }) => (
              <ToggleGroupItem
                key={key}
                text={words}
                isSelected={key === range.key}
                onChange={() => set("range", key)}
              />
            ))}
          </ToggleGroup>
          <ToggleGroup aria-label="Shown as">
            <ToggleGroupItem text="Charts" isSelected={!asNumbers} onChange={() => set("as", "charts")} />
            <ToggleGroupItem text="Numbers" isSelected={asNumbers} onChange={() => set("as", "numbers")} />
          </ToggleGroup>
        </Flex>
      </FlexItem>
      {told.error && (
        <FlexItem>
          <ErrorAlert error={told.error} title="The metrics could not be read" />
        </FlexItem>
      )}
      {history && total(history.requests) === 0 && (
        <FlexItem>
          <Alert
            variant="info"
            isInline
            isPlain
            component="p"
            title={`Nobody has called it in the last ${range.said}.`}
          />
        </FlexItem>
      )}
      <FlexItem>
        {history ? (
          <Grid hasGutter>
            {asNumbers ? <Numbers history={history} /> : <Charts history={history} />}
            <GridItem span={12}>
              <Happened history={history} said={range.said} />
            </GridItem>
          </Grid>
        ) : (
          !told.error && <Waiting />
        )}
      </FlexItem>
    </Flex>
  );
};
export default Metrics;

/** As high as what comes. */
function Waiting() {
  return (
    <Grid hasGutter>
      {["Requests", "Latency", "In flight", "Memory"].map((title) => (
        <GridItem key={title} span={12} xl={6}>
          <Card>
            <CardHeader>
              <CardTitle component="h2">{title}</CardTitle>
            </CardHeader>
            <CardBody>
              <Skeleton height="12.5rem" screenreaderText="Loading" />
            </CardBody>
          </Card>
        </GridItem>
      ))}
    </Grid>
  );
}
