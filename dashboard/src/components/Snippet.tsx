/** Text to copy: code, a command, an address. */

import { ClipboardCopyButton, CodeBlock, CodeBlockAction, CodeBlockCode } from "@patternfly/react-core";
import { useId, useState } from "react";

export function Snippet({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  const id = useId();
  return (
    <CodeBlock
      actions={
        <CodeBlockAction>
          <ClipboardCopyButton
            id={`${id}-copy`}
            textId={`${id}-code`}
            aria-label={`Copy ${label}`}
            variant="plain"
            onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(true))}
            onTooltipHidden={() => setCopied(false)}
          >
            {copied ? "Copied" : "Copy"}
          </ClipboardCopyButton>
        </CodeBlockAction>
      }
    >
      <CodeBlockCode id={`${id}-code`}>{text}</CodeBlockCode>
    </CodeBlock>
  );
}
