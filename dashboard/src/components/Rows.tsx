/** What is where rows are to come: a skeleton of their height, or why there are none. */

import { Skeleton } from "@patternfly/react-core";

export function LoadingRows({ rows = 4, words }: { rows?: number; words: string }) {
  return (
    <div aria-busy="true" className="yard-bars">
      {Array.from({ length: rows }, (_, row) => (
        <Skeleton key={row} height="2rem" screenreaderText={row === 0 ? words : ""} />
      ))}
    </div>
  );
}
