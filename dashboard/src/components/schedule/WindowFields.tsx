/** A window of one day: from and to, by the clock on the wall. */

import { TextInput } from "@patternfly/react-core";

import type { TimeWindow } from "./rules";

interface Props {
  id: string;
  /** Whose it is, for those who hear it: "Monday". */
  of: string;
  window: TimeWindow;
  onChange: (window: TimeWindow) => void;
  wrong?: "start" | "stop" | undefined;
  describedBy?: string | undefined;
}

/** What people type when they mean a time. */
function tidied(text: string): string {
  const [, hours, minutes = "00"] = /^(\d{1,2})[:.]?(\d{2})?$/.exec(text.trim()) ?? [];
  return hours === undefined ? text : `${hours.padStart(2, "0")}:${minutes}`;
}

export function WindowFields({ id, of, window, onChange, wrong, describedBy }: Props) {
  const field = (end: "start" | "stop", label: string, placeholder: string) => (
    <TextInput
      id={`${id}-${end}`}
      aria-label={`${of}, ${label}`}
      aria-describedby={wrong === end ? describedBy : undefined}
      className="yard-time"
      value={window[end]}
      placeholder={placeholder}
      maxLength={5}
      autoComplete="off"
      validated={wrong === end ? "error" : "default"}
      onChange={(_, value) => onChange({ ...window, [end]: value })}
      onBlur={() => onChange({ ...window, [end]: tidied(window[end]) })}
    />
  );
  return (
    <span className="yard-window">
      {field("start", "from", "08:00")}
      <span aria-hidden="true">to</span>
      {field("stop", "to", "20:00")}
    </span>
  );
}
