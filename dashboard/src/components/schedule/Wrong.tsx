/** What is wrong with a field, below it. */

import { FormHelperText, HelperText, HelperTextItem } from "@patternfly/react-core";

export function Wrong({ id, message }: { id?: string; message: string | undefined }) {
  if (!message) return null;
  return (
    <FormHelperText>
      <HelperText id={id} isLiveRegion>
        <HelperTextItem variant="error">{message}</HelperTextItem>
      </HelperText>
    </FormHelperText>
  );
}
