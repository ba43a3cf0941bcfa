/** Will it fit: what is needed and free, who is in the way, and the place in the queue. */

import {
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  Label,
  Skeleton,
} from "@patternfly/react-core";
import { CheckCircleIcon, HourglassHalfIcon, InfoCircleIcon } from "@patternfly/react-icons";
import type { ReactNode } from "react";
import { Link } from "react-router";

import type { Schemas } from "../../api/client";
import { bytes, bytesOf, many } from "../quantities";

export type Forecast = Schemas["Forecast"];

interface Props {
  forecast: Forecast | undefined;
  /** Why it is not known. */
  unknown: string;
  isLoading: boolean;
  /** Not beside the fields. */
  isWide?: boolean;
}

export function Fit({ forecast, unknown, isLoading, isWide = false }: Props) {
  return (
    <Card isCompact>
      <CardHeader>
        <CardTitle component="h3">Will it fit?</CardTitle>
      </CardHeader>
      <CardBody role="status" aria-busy={isLoading}>
        {forecast ? (
          <Told forecast={forecast} isWide={isWide} />
        ) : isLoading ? (
          <Skeleton height="5rem" screenreaderText="Asking" />
        ) : (
          <p className="yard-quiet">{unknown}</p>
        )}
      </CardBody>
    </Card>
  );
}

function amount({ cpu, memory, gpus }: Schemas["Amount"], isEvery: boolean): string {
  const parts = [
    ...(isEvery || bytesOf(memory) > 0 ? [`${bytes(memory)} of memory`] : []),
    ...(isEvery || cpu > 0 ? [many(Math.round(cpu * 100) / 100, "core")] : []),
    ...(isEvery || gpus > 0 ? [many(gpus, "GPU")] : []),
  ];
  return parts.join(", ") || "Nothing that is reserved";
}

function Told({ forecast, isWide }: { forecast: Forecast; isWide: boolean }) {
  const { fits, count, each, free, waiting, place, must_stop, would_preempt, others } = forecast;
  return (
    <DescriptionList
      isCompact
      columnModifier={{ default: "1Col", sm: "2Col", md: "3Col", xl: isWide ? "3Col" : "1Col" }}
    >
      <Verdict forecast={forecast} />
      {count > 0 && (
        <Said term="Needs">
          {count > 1 && `${count} × `}
          {amount(each, false)}
        </Said>
      )}
      <Said term="Free now">{amount(free, true)}</Said>
      {waiting && <Said term="Short of">{waiting.message}</Said>}
      {!fits && place !== null && <Said term="In the queue">Place {place}</Said>}
      {would_preempt.length > 0 ? (
        <Said term="Would give way">
          <Models refs={would_preempt} />
        </Said>
      ) : (
        must_stop.length > 0 && (
          <Said term="In the way">
            <Models refs={must_stop} />
          </Said>
        )
      )}
      {others > 0 && <Said term="Also">{many(others, "model")} that you may not see</Said>}
    </DescriptionList>
  );
}

function Verdict({ forecast: { fits, count, would_preempt } }: { forecast: Forecast }) {
  const look = fits
    ? count > 0
      ? { color: "green" as const, icon: <CheckCircleIcon />, words: "It fits" }
      : { color: "grey" as const, icon: <InfoCircleIcon />, words: "Nothing is launched" }
    : would_preempt.length > 0
      ? { color: "orange" as const, icon: <InfoCircleIcon />, words: "It makes room for itself" }
      : { color: "orange" as const, icon: <HourglassHalfIcon />, words: "It waits in the queue" };
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>Now</DescriptionListTerm>
      <DescriptionListDescription>
        <Label color={look.color} icon={look.icon}>
          {look.words}
        </Label>
      </DescriptionListDescription>
    </DescriptionListGroup>
  );
}

function Said({ term, children }: { term: string; children: ReactNode }) {
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>{term}</DescriptionListTerm>
      <DescriptionListDescription className="yard-number">{children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}

function Models({ refs }: { refs: Schemas["ModelRef"][] }) {
  return refs.map(({ namespace, name }, index) => (
    <span key={`${namespace}/${name}`}>
      {index > 0 && ", "}
      <Link to={`/models/${namespace}/${name}`}>{name}</Link>
    </span>
  ));
}
