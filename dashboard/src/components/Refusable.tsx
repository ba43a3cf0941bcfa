/** A button that says why it cannot be pressed. */

import { Button, Tooltip, type ButtonProps } from "@patternfly/react-core";

/** `why` is null where it can. */
export function Refusable({ why, ...button }: ButtonProps & { why: string | null }) {
  if (why === null) return <Button {...button} />;
  // It stays where the keyboard goes, so that the reason is read there too.
  return (
    <Tooltip content={why}>
      <Button {...button} isAriaDisabled />
    </Tooltip>
  );
}
