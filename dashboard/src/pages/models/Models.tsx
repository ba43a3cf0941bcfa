/** All models: their state with its message, and what can be done with one or with many. */

import {
  Button,
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
  Flex,
  FlexItem,
  PageSection,
  Pagination,
  SearchInput,
  Skeleton,
  Title,
  Toolbar,
  ToolbarContent,
  ToolbarFilter,
  ToolbarGroup,
  ToolbarItem,
} from "@patternfly/react-core";
import { CubesIcon, SearchIcon } from "@patternfly/react-icons";
import { useMemo, useState } from "react";
import { Link } from "react-router";

import { useModels } from "../../api/queries";
import { useNamespace } from "../../app/namespace";
import { Failed } from "../../components/Failed";
import { NamespacePicker } from "../../components/NamespacePicker";
import { PickSeveral } from "../../components/Pick";
import { STATE_ORDER, STATES, type State } from "../../components/StateLabel";
import { BulkMenu } from "./bulk/BulkMenu";
import { chosen, isFiltered, SIZES, useView } from "./filters";
import { ModelTable } from "./ModelTable";

export function Component() {
  const models = useModels();
  const namespace = useNamespace();
  const [view, change] = useView();
  const [selected, select] = useState<ReadonlySet<string>>(new Set());
  const found = useMemo(() => chosen(models.data ?? [], namespace, view), [models.data, namespace, view]);
  // Only those that are shown, so that nobody acts on what is out of sight.
  const picked = useMemo(() => found.filter((model) => selected.has(model.uid)), [found, selected]);
  const first = (Math.min(view.page, Math.max(1, Math.ceil(found.length / view.size))) - 1) * view.size;
  const shown = found.slice(first, first + view.size);

  const pages = (where: "top" | "bottom") => (
    <Pagination
      itemCount={found.length}
      page={first / view.size + 1}
      perPage={view.size}
      perPageOptions={SIZES.map((value) => ({ title: String(value), value }))}
      onSetPage={(_, page) => change({ page })}
      onPerPageSelect={(_, size) => change({ size })}
      variant={where}
      isCompact={where === "top"}
      titles={{ paginationAriaLabel: `Pages of models, ${where}` }}
    />
  );

  return (
    <>
      <PageSection>
        <Flex justifyContent={{ default: "justifyContentSpaceBetween" }} alignItems={{ default: "alignItemsCenter" }}>
          <FlexItem>
            <Title headingLevel="h1">Models</Title>
          </FlexItem>
          <FlexItem>
            <Button variant="primary" component={(props) => <Link {...props} to="/deploy" />}>
              Deploy a model
            </Button>
          </FlexItem>
        </Flex>
      </PageSection>
      <PageSection isFilled aria-label="Models">
        <Toolbar
          clearAllFilters={() => change({ search: "", states: [], labels: [] })}
          clearFiltersButtonText="Clear filters"
        >
          <ToolbarContent>
            <ToolbarItem>
              <NamespacePicker />
            </ToolbarItem>
            <ToolbarGroup variant="filter-group">
              <ToolbarItem>
                <SearchInput
                  aria-label="Part of the name"
                  placeholder="Find by name"
                  value={view.search}
                  onChange={(_, search) => change({ search })}
                  onClear={() => change({ search: "" })}
                />
              </ToolbarItem>
              <ToolbarFilter
                categoryName="State"
                labels={view.states.map((state) => ({ key: state, node: STATES[state]?.word ?? state }))}
                deleteLabel={(_, label) => {
                  const key = typeof label === "string" ? label : label.key;
                  change({ states: view.states.filter((state) => state !== key) });
                }}
                deleteLabelGroup={() => change({ states: [] })}
              >
                <PickSeveral
                  label="State"
                  values={view.states}
                  onPick={(states) => change({ states: states as State[] })}
                  choices={STATE_ORDER.map((state) => ({ value: state, words: STATES[state].word }))}
                />
              </ToolbarFilter>
            </ToolbarGroup>
            <ToolbarItem>
              <BulkMenu models={picked} clear={() => select(new Set())} />
            </ToolbarItem>
            <ToolbarItem variant="pagination" align={{ default: "alignEnd" }}>
              {pages("top")}
            </ToolbarItem>
          </ToolbarContent>
        </Toolbar>
        {models.error && !models.data ? (
          <Failed error={models.error} retry={() => void models.refetch()} />
        ) : !models.data ? (
          <Loading />
        ) : found.length > 0 ? (
          <>
            <ModelTable models={shown} view={view} change={change} selected={selected} select={select} />
            {pages("bottom")}
          </>
        ) : isFiltered(view) || models.data.length > 0 ? (
          <NothingFound clear={() => change({ search: "", states: [], labels: [] })} />
        ) : (
          <NoModels />
        )}
      </PageSection>
    </>
  );
}

function Loading() {
  return (
    <div aria-busy="true" aria-label="Loading models">
      {Array.from({ length: 8 }, (_, row) => (
        <Skeleton key={row} height="2.5rem" style={{ marginBlockEnd: "0.5rem" }} screenreaderText="Loading models" />
      ))}
    </div>
  );
}

function NothingFound({ clear }: { clear: () => void }) {
  return (
    <EmptyState icon={SearchIcon} titleText="No model matches" headingLevel="h2">
      <EmptyStateBody>No model of this namespace has this name, state and these labels.</EmptyStateBody>
      <EmptyStateFooter>
        <EmptyStateActions>
          <Button variant="link" onClick={clear}>
            Clear filters
          </Button>
        </EmptyStateActions>
      </EmptyStateFooter>
    </EmptyState>
  );
}

function NoModels() {
  return (
    <EmptyState icon={CubesIcon} titleText="No models yet" headingLevel="h2">
      <EmptyStateBody>
        Deploy one from the registry, from a file of this machine, or begin with a bundled sample.
      </EmptyStateBody>
      <EmptyStateFooter>
        <EmptyStateActions>
          <Button variant="primary" component={(props) => <Link {...props} to="/deploy" />}>
            Deploy a model
          </Button>
        </EmptyStateActions>
      </EmptyStateFooter>
    </EmptyState>
  );
}
