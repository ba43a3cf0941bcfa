/** How many alerts fire that nobody has silenced; nothing where none does. */

import { Badge } from "@patternfly/react-core";

import { useFiring } from "./calls";

export function FiringBadge() {
  const loud = (useFiring().data ?? []).filter(
    ({ silence }) => !silence || Date.parse(silence.until) <= Date.now(),
  ).length;
  if (loud === 0) return null;
  return (
    <Badge className="yard-firing" screenReaderText={loud === 1 ? "fires" : "fire"}>
      {loud}
    </Badge>
  );
}
