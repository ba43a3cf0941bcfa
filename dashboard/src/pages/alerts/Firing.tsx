/** What fires, the gravest first, each with what to do; and what is over. */

import { EmptyState, EmptyStateBody, Label, Title } from "@patternfly/react-core";
import { CheckCircleIcon } from "@patternfly/react-icons";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";

import { useMay } from "../../app/permissions";
import { Ago, duration } from "../../components/Ago";
import { Failed, messageOf } from "../../components/Failed";
import { notify } from "../../components/notices";
import { LoadingRows } from "../../components/Rows";
import { RowActions } from "../../components/RowActions";
import { askAlertsAgain, endSilence, useEnded, useFiring, type Alert } from "./calls";
import { KINDS, SEVERITIES, SeverityLabel } from "./kinds";
import { SilenceDialog } from "./SilenceDialog";

const isSilenced = ({ silence }: Alert) => Boolean(silence && Date.parse(silence.until) > Date.now());

/** Those that nobody has silenced first, then the gravest, then the newest. */
function inOrder(alerts: Alert[]): Alert[] {
  const rank = ({ severity }: Alert) => SEVERITIES.indexOf(severity);
  return [...alerts].sort(
    (a, b) =>
      Number(isSilenced(a)) - Number(isSilenced(b)) ||
      rank(a) - rank(b) ||
      Date.parse(b.starts_at) - Date.parse(a.starts_at),
  );
}

export function Firing() {
  const firing = useFiring();
  const [silencing, silence] = useState<Alert | null>(null);
  if (firing.error && !firing.data) return <Failed error={firing.error} retry={() => void firing.refetch()} />;
  return (
    <>
      <Title headingLevel="h2" size="lg">
        Firing
      </Title>
      <div role="status" className="yard-gap">
        {!firing.data ? (
          <LoadingRows rows={3} words="Loading alerts" />
        ) : firing.data.length === 0 ? (
          <EmptyState icon={CheckCircleIcon} titleText="Nothing fires" headingLevel="h3" variant="sm">
            <EmptyStateBody>
              Starts that fail, crash loops and failed schedules are watched for without any set-up. Rules watch for
              more.
            </EmptyStateBody>
          </EmptyState>
        ) : (
          <FiringTable alerts={inOrder(firing.data)} silence={silence} />
        )}
      </div>
      <Ended />
      {silencing && <SilenceDialog alert={silencing} close={() => silence(null)} />}
    </>
  );
}

function FiringTable({ alerts, silence }: { alerts: Alert[]; silence: (alert: Alert) => void }) {
  const may = useMay();
  const ending = useMutation({
    mutationFn: endSilence,
    onSuccess: () => askAlertsAgain(),
    onError: (error) => notify("danger", "The silence was not ended", messageOf(error)),
  });
  return (
    <Table aria-label="Firing alerts" variant="compact">
      <Thead>
        <Tr>
          <Th>Severity</Th>
          <Th>Model</Th>
          <Th width={45}>What, and what to do</Th>
          <Th>Since</Th>
          <Th screenReaderText="Actions" />
        </Tr>
      </Thead>
      <Tbody>
        {alerts.map((alert) => {
          const why = may("operate", alert.namespace, alert.model)
            ? undefined
            : `Needs the role operator in namespace ${alert.namespace}.`;
          return (
            <Tr key={alert.id}>
              <Td dataLabel="Severity">
                <SeverityLabel severity={alert.severity} />
              </Td>
              <Td dataLabel="Model">
                <Link to={`/models/${alert.namespace}/${alert.model}`}>{alert.model}</Link>
                <div className="yard-quiet">{alert.namespace}</div>
              </Td>
              <Td dataLabel="What, and what to do" modifier="breakWord">
                <What alert={alert} />
              </Td>
              <Td dataLabel="Since">
                <Ago at={alert.starts_at} />
              </Td>
              <Td isActionCell>
                <RowActions
                  of={`${KINDS[alert.kind].words} of ${alert.model}`}
                  actions={[
                    { words: isSilenced(alert) ? "Silence longer…" : "Silence…", act: () => silence(alert), why },
                    ...(isSilenced(alert)
                      ? [{ words: "End the silence", act: () => ending.mutate(alert.fingerprint), why }]
                      : []),
                  ]}
                />
              </Td>
            </Tr>
          );
        })}
      </Tbody>
    </Table>
  );
}

function What({ alert }: { alert: Alert }) {
  const { description, action } = alert.annotations;
  return (
    <>
      <strong>{KINDS[alert.kind].words}</strong>{" "}
      {isSilenced(alert) && alert.silence && (
        <Label isCompact color="grey">
          Silenced
        </Label>
      )}
      {description && <div>{description}</div>}
      {action && <div className="yard-quiet">{action}</div>}
      {isSilenced(alert) && alert.silence && (
        <div className="yard-quiet">
          Silenced by {alert.silence.by}, ends <Ago at={alert.silence.until} />
          {alert.silence.reason && `: ${alert.silence.reason}`}
        </div>
      )}
    </>
  );
}

function Ended() {
  const ended = useEnded();
  return (
    <>
      <Title headingLevel="h2" size="lg" className="yard-gap">
        Ended lately
      </Title>
      {!ended.data ? (
        <LoadingRows words="Loading ended alerts" />
      ) : ended.data.length === 0 ? (
        <p className="yard-quiet">None within the last 30 days.</p>
      ) : (
        <Table aria-label="Ended alerts" variant="compact">
          <Thead>
            <Tr>
              <Th>Severity</Th>
              <Th>Model</Th>
              <Th width={45}>What</Th>
              <Th>Ended</Th>
              <Th>Lasted</Th>
            </Tr>
          </Thead>
          <Tbody>
            {ended.data.map((alert) => (
              <Tr key={alert.id}>
                <Td dataLabel="Severity">
                  <SeverityLabel severity={alert.severity} />
                </Td>
                <Td dataLabel="Model">
                  {alert.model} <span className="yard-quiet">{alert.namespace}</span>
                </Td>
                <Td dataLabel="What" modifier="breakWord">
                  {KINDS[alert.kind].words} <span className="yard-quiet">{alert.annotations.description}</span>
                </Td>
                <Td dataLabel="Ended">{alert.ends_at && <Ago at={alert.ends_at} />}</Td>
                <Td dataLabel="Lasted" className="yard-number">
                  {alert.ends_at && duration((Date.parse(alert.ends_at) - Date.parse(alert.starts_at)) / 1000)}
                </Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
    </>
  );
}
