/** The state of a model as a badge: an icon, a word and a colour, so that none of them has to carry it alone. */

import { Label, type LabelProps } from "@patternfly/react-core";
import {
  CheckCircleIcon,
  ExclamationCircleIcon,
  HourglassHalfIcon,
  InProgressIcon,
  MoonIcon,
  PowerOffIcon,
  SyncAltIcon,
  TrashIcon,
} from "@patternfly/react-icons";
import type { ComponentType } from "react";

import type { Schemas } from "../api/client";

export type State = Schemas["State"];

interface Look {
  word: string;
  icon: ComponentType;
  color: NonNullable<LabelProps["color"]>;
  outlined?: boolean;
  moving?: boolean;
}

export const STATES: Record<State, Look> = {
  running: { word: "Running", icon: CheckCircleIcon, color: "green" },
  starting: { word: "Starting", icon: InProgressIcon, color: "blue", moving: true },
  updating: { word: "Updating", icon: SyncAltIcon, color: "blue", moving: true },
  queued: { word: "Queued", icon: HourglassHalfIcon, color: "orange" },
  idle: { word: "Idle", icon: MoonIcon, color: "purple" },
  stopping: { word: "Stopping", icon: InProgressIcon, color: "grey", moving: true },
  stopped: { word: "Stopped", icon: PowerOffIcon, color: "grey", outlined: true },
  error: { word: "Error", icon: ExclamationCircleIcon, color: "red" },
  deleting: { word: "Deleting", icon: TrashIcon, color: "grey", moving: true },
};

export const STATE_ORDER = Object.keys(STATES) as State[];

export function StateLabel({ state, onClick }: { state: State; onClick?: () => void }) {
  const { word, icon: Icon, color, outlined, moving } = STATES[state];
  return (
    <Label
      color={color}
      variant={outlined ? "outline" : "filled"}
      icon={
        <span className={moving ? "yard-moving" : undefined}>
          <Icon />
        </span>
      }
      {...(onClick ? { onClick } : {})}
    >
      {word}
    </Label>
  );
}
