/** An alias, with the version that it means where that is not told by its place. */

import { Label } from "@patternfly/react-core";
import { TagIcon } from "@patternfly/react-icons";

export function AliasLabel({ alias, version }: { alias: string; version?: string }) {
  return (
    <Label isCompact variant="outline" color="teal" icon={<TagIcon />}>
      {alias}
      {version && ` ${version}`}
    </Label>
  );
}
