/** Models that are not as they should be, the worst first, each with its reason. */

import {
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  DataList,
  DataListCell,
  DataListItem,
  DataListItemCells,
  DataListItemRow,
  Skeleton,
} from "@patternfly/react-core";
import { Link } from "react-router";

import type { Model } from "../../api/queries";
import { Ago } from "../../components/Ago";
import { StateLabel } from "../../components/StateLabel";

const WORST_FIRST = ["error", "queued"];
const SHOWN = 6;

function needsALook({ status }: Model): boolean {
  return (
    WORST_FIRST.includes(status.state) ||
    status.conditions.some(
      ({ type, status: holds }) => (type === "Degraded" && holds) || (type === "ScheduleHealthy" && !holds),
    )
  );
}

export function Attention({ models, isLoading }: { models: Model[]; isLoading: boolean }) {
  const rank = ({ status }: Model) =>
    (WORST_FIRST.indexOf(status.state) + WORST_FIRST.length + 1) % (WORST_FIRST.length + 1);
  const found = models.filter(needsALook).sort((a, b) => rank(a) - rank(b));
  return (
    <Card>
      <CardHeader>
        <CardTitle component="h2">Needs a look</CardTitle>
      </CardHeader>
      <CardBody>
        {isLoading ? (
          <Skeleton screenreaderText="Loading" />
        ) : found.length === 0 ? (
          <p className="yard-quiet">Nothing: every model is as it is wished to be.</p>
        ) : (
          <DataList aria-label="Models that need a look" isCompact>
            {found.slice(0, SHOWN).map((model) => (
              <DataListItem key={model.uid} aria-labelledby={`look-${model.uid}`}>
                <DataListItemRow>
                  <DataListItemCells
                    dataListCells={[
                      <DataListCell key="name" isFilled={false} className="yard-cell-name">
                        <Link id={`look-${model.uid}`} to={`/models/${model.namespace}/${model.name}`}>
                          {model.name}
                        </Link>
                        <div className="yard-quiet">{model.namespace}</div>
                      </DataListCell>,
                      <DataListCell key="state" isFilled={false}>
                        <StateLabel state={model.status.state} />
                      </DataListCell>,
                      <DataListCell key="message" wrapModifier="breakWord">
                        {model.status.message}{" "}
                        <span className="yard-quiet">
                          <Ago at={model.status.last_transition.at} />
                        </span>
                      </DataListCell>,
                    ]}
                  />
                </DataListItemRow>
              </DataListItem>
            ))}
          </DataList>
        )}
        {found.length > SHOWN && <Link to="/models?state=error&state=queued">All {found.length}</Link>}
      </CardBody>
    </Card>
  );
}
