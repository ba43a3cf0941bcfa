/** Who did what: the record, the newest first, and whether it is as it was written. */

import {
  Button,
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
  Flex,
  FlexItem,
  PageSection,
  Title,
} from "@patternfly/react-core";
import { SearchIcon } from "@patternfly/react-icons";

import type { Schemas } from "../../api/client";
import { useMe } from "../../api/queries";
import { useNamespace } from "../../app/namespace";
import { ErrorAlert, Failed } from "../../components/Failed";
import { Missing } from "../../components/Missing";
import { LoadingRows } from "../../components/Rows";
import { useEntries, useVerify } from "./calls";
import { Entries } from "./Entries";
import { exportLink, useFilters } from "./filters";
import { FilterBar } from "./FilterBar";
import { Verdict } from "./Verdict";

export function Component() {
  const me = useMe().data;
  if (!me) return <LoadingRows words="Loading the record" />;
  return <Record me={me} />;
}

/** The namespaces whose record one may read without overseeing all. */
function administered(me: Schemas["Me"]): string[] {
  const held = me.grants.filter(({ permissions, models }) => permissions.includes("administer") && models.length === 0);
  return [...new Set(held.map(({ namespace }) => namespace))];
}

function Record({ me }: { me: Schemas["Me"] }) {
  const [filters, change] = useFilters();
  const mine = administered(me);
  const chosen = useNamespace();
  const wished = filters.namespace ?? chosen;
  const scope = me.oversees ? "" : mine.includes(wished) ? wished : (mine[0] ?? "");
  if (!me.oversees && !scope) return <Missing needs="the role administrator in a namespace" />;
  return (
    <Shown
      scope={scope}
      scopes={mine}
      filters={me.oversees ? filters : { ...filters, namespace: scope }}
      change={change}
    />
  );
}

interface ShownProps {
  scope: string;
  scopes: string[];
  filters: ReturnType<typeof useFilters>[0];
  change: ReturnType<typeof useFilters>[1];
}

function Shown({ scope, scopes, filters, change }: ShownProps) {
  const entries = useEntries(filters, scope);
  const verifying = useVerify();
  const found = entries.data?.pages.flatMap(({ items }) => items) ?? [];
  const clear = () =>
    change({ actor: "", action: "", target: "", namespace: "", outcome: "", since: "", until: "", search: "" });
  return (
    <>
      <PageSection>
        <Flex justifyContent={{ default: "justifyContentSpaceBetween" }} alignItems={{ default: "alignItemsCenter" }}>
          <FlexItem>
            <Title headingLevel="h1">Audit</Title>
            <p>Who did what{scope && ` in ${scope}`}, why, from where, and what came of it.</p>
          </FlexItem>
          {!scope && (
            <FlexItem>
              <Flex columnGap={{ default: "columnGapSm" }}>
                <Button
                  variant="secondary"
                  isLoading={verifying.isPending}
                  isDisabled={verifying.isPending}
                  onClick={() => verifying.mutate()}
                >
                  Verify the chain
                </Button>
                <Button variant="secondary" component="a" href={exportLink(filters)} download="audit.jsonl">
                  Export as JSON lines
                </Button>
              </Flex>
            </FlexItem>
          )}
        </Flex>
        <div role="status">
          {verifying.data && <Verdict verdict={verifying.data} />}
          {verifying.error && <ErrorAlert title="The record was not verified" error={verifying.error} />}
        </div>
      </PageSection>
      <PageSection isFilled aria-label="The record">
        <FilterBar filters={filters} change={change} scopes={scope ? scopes : null} clear={clear} />
        {entries.error && !entries.data ? (
          <Failed error={entries.error} retry={() => void entries.refetch()} />
        ) : !entries.data ? (
          <LoadingRows rows={10} words="Loading the record" />
        ) : found.length === 0 ? (
          <EmptyState icon={SearchIcon} titleText="No entry matches" headingLevel="h2">
            <EmptyStateBody>Nothing on record is so. Reading, and calling models, leave no entries.</EmptyStateBody>
            <EmptyStateFooter>
              <EmptyStateActions>
                <Button variant="link" onClick={clear}>
                  Clear filters
                </Button>
              </EmptyStateActions>
            </EmptyStateFooter>
          </EmptyState>
        ) : (
          <>
            <Entries entries={found} />
            {entries.hasNextPage && (
              <Button
                variant="link"
                onClick={() => void entries.fetchNextPage()}
                isLoading={entries.isFetchingNextPage}
                isDisabled={entries.isFetchingNextPage}
              >
                Show older entries
              </Button>
            )}
          </>
        )}
      </PageSection>
    </>
  );
}
