/** Whether the record is as it was written, and what to note of it elsewhere. */

import { Alert, ClipboardCopy } from "@patternfly/react-core";

import type { Schemas } from "../../api/client";
import { many } from "../../components/quantities";

export function Verdict({ verdict }: { verdict: Schemas["AuditVerdict"] }) {
  const { whole, entries, head, broken, kept_from } = verdict;
  if (!whole || broken) {
    return (
      <Alert variant="danger" isInline component="p" title={`The record is broken at entry ${broken?.number ?? "?"}`}>
        {broken?.why} The {many(entries, "entry", "entries")} before it are as they were written. Compare it with an
        export that was made earlier.
      </Alert>
    );
  }
  return (
    <Alert variant="success" isInline component="p" title={`The record is whole: ${many(entries, "entry", "entries")}`}>
      <p>
        {kept_from.number > 0 && `It is kept from after entry ${kept_from.number} on. `}
        Note its head elsewhere: that it is still in the chain later shows that nothing before it has changed.
      </p>
      <ClipboardCopy
        isReadOnly
        isCode
        hoverTip="Copy"
        clickTip="Copied"
        textAriaLabel="Head of the record"
        copyAriaLabel="Copy the head"
      >
        {head.hash}
      </ClipboardCopy>
    </Alert>
  );
}
