/** In place of a page for which one lacks a role: what is missing, and who can give it. */

import { EmptyState, EmptyStateBody } from "@patternfly/react-core";
import { LockIcon } from "@patternfly/react-icons";

import { useMe } from "../api/queries";

export function Missing({ needs }: { needs: string }) {
  const me = useMe().data;
  return (
    <EmptyState icon={LockIcon} titleText="Not for you to see" headingLevel="h1">
      <EmptyStateBody>
        This needs {needs}. {me ? `${me.name} does not have it.` : ""} Who administers it can give it to you.
      </EmptyStateBody>
    </EmptyState>
  );
}

export const OVERSEE = "the role administrator in all namespaces";
