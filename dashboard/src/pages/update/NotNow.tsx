/** In place of the form while the model takes no update. */

import { EmptyState, EmptyStateBody, EmptyStateFooter } from "@patternfly/react-core";
import { HourglassHalfIcon } from "@patternfly/react-icons";
import { Link } from "react-router";

export function NotNow({ why, path }: { why: string; path: string }) {
  return (
    <EmptyState titleText="Not now" icon={HourglassHalfIcon} headingLevel="h1">
      <EmptyStateBody>{why}</EmptyStateBody>
      <EmptyStateFooter>
        <Link to={path}>Back to the model</Link>
      </EmptyStateFooter>
    </EmptyState>
  );
}
