/** The calendar of all models that run by themselves. */

import {
  Button,
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
  Grid,
  GridItem,
  PageSection,
  Pagination,
  Title,
  ToggleGroup,
  ToggleGroupItem,
  Toolbar,
  ToolbarContent,
  ToolbarGroup,
  ToolbarItem,
} from "@patternfly/react-core";
import { AngleLeftIcon, AngleRightIcon, CalendarAltIcon } from "@patternfly/react-icons";
import { useMemo, useState } from "react";
import { Link } from "react-router";

import { midnight, useTimetables } from "../../api/schedules";
import { useNamespace } from "../../app/namespace";
import { Failed } from "../../components/Failed";
import { NamespacePicker } from "../../components/NamespacePicker";
import { LoadingRows } from "../../components/Rows";
import { ComingUp } from "../home/ComingUp";
import { inOrder } from "./conflicts";
import { TimetableTable } from "./TimetableTable";
import { Week } from "./Week";

const SIZE = 25;
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric" });

/** Monday's midnight, so many weeks from this one. */
function weekAt(weeks: number): Date {
  const today = new Date();
  return midnight(today, -((today.getDay() + 6) % 7) + 7 * weeks);
}

export function Component() {
  const namespace = useNamespace();
  const [weeks, go] = useState(0);
  const [view, look] = useState(() => (window.matchMedia("(max-width: 62rem)").matches ? "table" : "week"));
  const [page, turn] = useState(1);
  const week = useMemo(() => weekAt(weeks), [weeks]);
  const timetables = useTimetables(week);
  const found = useMemo(
    () => inOrder((timetables.data ?? []).filter((one) => !namespace || one.namespace === namespace)),
    [timetables.data, namespace],
  );
  const first = (Math.min(page, Math.max(1, Math.ceil(found.length / SIZE))) - 1) * SIZE;
  const shown = found.slice(first, first + SIZE);
  return (
    <>
      <PageSection>
        <Title headingLevel="h1">Schedules</Title>
      </PageSection>
      <PageSection isFilled aria-label="Schedules">
        <Toolbar>
          <ToolbarContent>
            <ToolbarItem>
              <NamespacePicker />
            </ToolbarItem>
            <ToolbarGroup variant="action-group-plain">
              <ToolbarItem>
                <Button
                  variant="plain"
                  aria-label="The week before"
                  icon={<AngleLeftIcon />}
                  onClick={() => go(weeks - 1)}
                />
              </ToolbarItem>
              <ToolbarItem>
                <Button variant="secondary" isDisabled={weeks === 0} onClick={() => go(0)}>
                  This week
                </Button>
              </ToolbarItem>
              <ToolbarItem>
                <Button
                  variant="plain"
                  aria-label="The week after"
                  icon={<AngleRightIcon />}
                  onClick={() => go(weeks + 1)}
                />
              </ToolbarItem>
            </ToolbarGroup>
            <ToolbarItem alignSelf="center">
              <span role="status">Week from {DAY.format(week)}</span>
            </ToolbarItem>
            <ToolbarItem>
              <ToggleGroup aria-label="Shown as">
                <ToggleGroupItem text="Week" isSelected={view === "week"} onChange={() => look("week")} />
                <ToggleGroupItem text="Table" isSelected={view === "table"} onChange={() => look("table")} />
              </ToggleGroup>
            </ToolbarItem>
            {found.length > SIZE && (
              <ToolbarItem variant="pagination" align={{ default: "alignEnd" }}>
                <Pagination
                  isCompact
                  itemCount={found.length}
                  page={first / SIZE + 1}
                  perPage={SIZE}
                  perPageOptions={[]}
                  onSetPage={(_, next) => turn(next)}
                  titles={{ paginationAriaLabel: "Pages of schedules" }}
                />
              </ToolbarItem>
            )}
          </ToolbarContent>
        </Toolbar>
        {timetables.error && !timetables.data ? (
          <Failed error={timetables.error} retry={() => void timetables.refetch()} />
        ) : !timetables.data ? (
          <LoadingRows rows={6} words="Loading schedules" />
        ) : found.length === 0 ? (
          <Nothing />
        ) : (
          <Grid hasGutter>
            <GridItem span={12}>
              {view === "week" ? (
                <>
                  <Week timetables={shown} week={week} />
                  <Legend />
                </>
              ) : (
                <TimetableTable timetables={shown} />
              )}
            </GridItem>
            <GridItem span={12} xl={6}>
              <Card>
                <CardHeader>
                  <CardTitle component="h2">Coming up</CardTitle>
                </CardHeader>
                <CardBody>
                  <ComingUp timetables={found} error={null} count={12} />
                </CardBody>
              </Card>
            </GridItem>
          </Grid>
        )}
      </PageSection>
    </>
  );
}

function Legend() {
  const marks: [string, string][] = [
    ["yard-bar", "Runs by schedule"],
    ["yard-shut", "Shut down by a policy"],
    ["yard-bar yard-bar--refused", "Would run, and a policy keeps it shut down"],
  ];
  return (
    <div className="yard-legend yard-quiet">
      {marks.map(([mark, words]) => (
        <span key={mark}>
          <span className="yard-legend__mark" aria-hidden="true">
            <span className={mark} />
          </span>
          {words}
        </span>
      ))}
      <span>Times of this browser.</span>
    </div>
  );
}

function Nothing() {
  return (
    <EmptyState icon={CalendarAltIcon} titleText="No schedules" headingLevel="h2">
      <EmptyStateBody>
        No model of this namespace starts and stops by itself. Choose one and give it a schedule, or select several and
        give them the same.
      </EmptyStateBody>
      <EmptyStateFooter>
        <EmptyStateActions>
          <Button variant="primary" component={(props) => <Link {...props} to="/models" />}>
            Choose models
          </Button>
        </EmptyStateActions>
      </EmptyStateFooter>
    </EmptyState>
  );
}
