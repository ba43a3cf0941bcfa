/** When a model runs by itself: how that stands, what comes in the next two weeks, and the editor. */

import {
  Alert,
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
  Label,
  Skeleton,
} from "@patternfly/react-core";
import { CalendarAltIcon } from "@patternfly/react-icons";
import { useState } from "react";

import type { Model } from "../../api/queries";
import { useMay } from "../../app/permissions";
import { ErrorAlert, Failed } from "../../components/Failed";
import { firstSchedule, scheduleProblems, type SaveSchedule } from "../../components/schedule/rules";
import { WeekCalendar } from "../../components/schedule/WeekCalendar";
import { useNextAction } from "./parts";
import { sendable, usePreview, useSavedPreview, useSchedule, type Schedule } from "./schedule/data";
import { Editor } from "./schedule/Editor";
import { InWords } from "./schedule/InWords";
import { Menu } from "./schedule/Menu";
import { Standing } from "./schedule/Standing";

interface Draft {
  schedule: SaveSchedule;
  version: number | null;
}

export default function ScheduleTab({ model }: { model: Model }) {
  const saved = useSchedule(model);
  const status = useNextAction(model);
  const [draft, setDraft] = useState<Draft | null>(null);
  const mayEdit = useMay()("operate", model.namespace, model.name);
  const forbidden = mayEdit ? null : `Needs the role operator in namespace ${model.namespace}.`;
  if (saved.error && saved.data === undefined) return <Failed error={saved.error} retry={() => void saved.refetch()} />;
  if (saved.data === undefined || !status.data)
    return <Skeleton height="24rem" screenreaderText="Loading the schedule" />;
  const schedule = saved.data;
  if (!schedule && !draft)
    return <NoSchedule forbidden={forbidden} begin={() => setDraft({ schedule: firstSchedule(), version: null })} />;
  const shown = draft?.schedule ?? (schedule ? sendable(schedule) : firstSchedule());
  return (
    <Grid hasGutter>
      <GridItem span={12} xl={7}>
        <Card isFullHeight>
          <CardHeader
            {...(schedule && !draft
              ? {
                  actions: {
                    hasNoOffset: true,
                    actions: (
                      <Menu
                        model={model}
                        schedule={schedule}
                        status={status.data}
                        forbidden={forbidden}
                        removed={() => setDraft(null)}
                      />
                    ),
                  },
                }
              : {})}
          >
            <CardTitle component="h2">
              The next 14 days{" "}
              {schedule && !schedule.enabled && (
                <Label isCompact color="orange">
                  Disabled
                </Label>
              )}
            </CardTitle>
          </CardHeader>
          <CardBody>
            {schedule && !draft && (
              <Standing model={model} schedule={schedule} status={status.data} mayEdit={mayEdit} />
            )}
            <Preview model={model} schedule={schedule} shown={shown} isEdited={draft !== null} />
          </CardBody>
        </Card>
      </GridItem>
      <GridItem span={12} xl={5}>
        <Card>
          <CardHeader>
            <CardTitle component="h2">{schedule ? "Schedule" : "New schedule"}</CardTitle>
          </CardHeader>
          <CardBody>
            {forbidden !== null && schedule ? (
              <>
                <Alert variant="info" isInline isPlain component="h3" title={`To change it: ${forbidden}`} />
                <InWords schedule={schedule} />
              </>
            ) : (
              <Editor
                model={model}
                draft={shown}
                version={draft ? draft.version : (schedule?.version ?? null)}
                saved={schedule}
                isEdited={draft !== null}
                edit={(next) =>
                  setDraft({ schedule: next, version: draft ? draft.version : (schedule?.version ?? null) })
                }
                leave={() => setDraft(null)}
              />
            )}
          </CardBody>
        </Card>
      </GridItem>
    </Grid>
  );
}

interface PreviewProps {
  model: Model;
  schedule: Schedule | null;
  shown: SaveSchedule;
  isEdited: boolean;
}

/** Of what is saved, or of what would be: then without an extension, and as if it were enabled. */
function Preview({ model, schedule, shown, isEdited }: PreviewProps) {
  const asSaved = !isEdited && schedule !== null && schedule.enabled;
  const isRight = scheduleProblems(shown).length === 0;
  const saved = useSavedPreview(model, asSaved);
  const draft = usePreview(shown, !asSaved && isRight);
  const found = asSaved ? saved : draft;
  return (
    <div aria-live="polite" className="yard-preview">
      {isEdited && (
        <Alert variant="info" isInline isPlain component="h3" title="Not saved yet: this is what would come of it." />
      )}
      {!isEdited && shown.enabled === false && (
        <Alert
          variant="warning"
          isInline
          isPlain
          component="h3"
          title="Disabled: nothing of this happens until it is enabled."
        />
      )}
      {!isRight && <p className="yard-quiet">Once the form is right, what would come of it is drawn here.</p>}
      {found.error && <ErrorAlert title="What would come of it is not known" error={found.error} />}
      {found.data ? (
        <>
          <WeekCalendar coming={found.data} />
          {found.data.actions.length === 0 && <p>In the next 14 days it starts and stops nothing.</p>}
        </>
      ) : (
        isRight && !found.error && <Skeleton height="20rem" screenreaderText="Asking what would come of it" />
      )}
    </div>
  );
}

function NoSchedule({ forbidden, begin }: { forbidden: string | null; begin: () => void }) {
  return (
    <EmptyState icon={CalendarAltIcon} titleText="No schedule" headingLevel="h2">
      <EmptyStateBody>
        The model runs until somebody stops it. With a schedule it starts and stops by itself at the times that you set,
        and holds memory and devices only then.
        {forbidden && <div>{forbidden}</div>}
      </EmptyStateBody>
      <EmptyStateFooter>
        <EmptyStateActions>
          <Button onClick={begin} isDisabled={forbidden !== null}>
            Make a schedule
          </Button>
        </EmptyStateActions>
      </EmptyStateFooter>
    </EmptyState>
  );
}
