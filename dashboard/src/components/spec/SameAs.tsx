/** The same as YAML, as a command and as a call of the API, each to copy. */

import { Tab, Tabs, TabTitleText } from "@patternfly/react-core";
import { useState } from "react";

import { Snippet } from "../Snippet";

export interface Way {
  words: string;
  text: string;
  /** What one has to know before pasting it. */
  note?: string;
}

export function SameAs({ ways, label }: { ways: Way[]; label: string }) {
  const [shown, show] = useState(ways[0]?.words ?? "");
  return (
    <Tabs activeKey={shown} onSelect={(_, key) => show(String(key))} aria-label={label} isSubtab>
      {ways.map(({ words, text, note }) => (
        <Tab key={words} eventKey={words} title={<TabTitleText>{words}</TabTitleText>}>
          {note && <p className="yard-quiet">{note}</p>}
          <Snippet label={words} text={text} />
        </Tab>
      ))}
    </Tabs>
  );
}
