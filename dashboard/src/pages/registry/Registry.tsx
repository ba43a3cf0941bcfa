/** Registered models: what there is of each, and who serves it. */

import "./registry.css";

import {
  Button,
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
  PageSection,
  Pagination,
  SearchInput,
  Skeleton,
  Title,
  ToggleGroup,
  ToggleGroupItem,
  Toolbar,
  ToolbarContent,
  ToolbarGroup,
  ToolbarItem,
} from "@patternfly/react-core";
import { ArchiveIcon, SearchIcon } from "@patternfly/react-icons";
import { useDeferredValue, useMemo, useState } from "react";
import { useSearchParams } from "react-router";

import { useNamespace } from "../../app/namespace";
import { Failed } from "../../components/Failed";
import { NamespacePicker } from "../../components/NamespacePicker";
import { PickOne } from "../../components/Pick";
import { Snippet } from "../../components/Snippet";
import { useRegistered, type Registered } from "./queries";
import { RegistryTable } from "./RegistryTable";

const SIZE = 25;

export function Component() {
  const namespace = useNamespace();
  const [parameters, set] = useSearchParams();
  const [page, setPage] = useState(1);
  const [search, series, framework] = ["search", "series", "framework"].map((key) => parameters.get(key) ?? "");
  const deleted = parameters.has("deleted");
  const wantedFramework = useDeferredValue(framework ?? "");
  const registered = useRegistered({ namespace, framework: wantedFramework, deleted });
  const all = registered.data;
  const found = useMemo(() => chosen(all ?? [], search ?? "", series ?? ""), [all, search, series]);
  const change = (key: string, value: string) => {
    setPage(1);
    set(
      (before) => {
        if (value) before.set(key, value);
        else before.delete(key);
        return before;
      },
      { replace: true },
    );
  };
  const clear = () => set({}, { replace: true });
  const families = [...new Set((all ?? []).map((model) => model.series).filter(Boolean))].sort();
  const isFiltered = Boolean(search || series || framework || deleted);

  return (
    <>
      <PageSection>
        <Title headingLevel="h1">Registry</Title>
      </PageSection>
      <PageSection isFilled aria-label="Registered models">
        <Toolbar inset={{ default: "insetNone" }}>
          <ToolbarContent>
            <ToolbarItem>
              <NamespacePicker />
            </ToolbarItem>
            <ToolbarGroup variant="filter-group">
              <ToolbarItem>
                <SearchInput
                  aria-label="Part of the name, the description or a label"
                  placeholder="Find by name or label"
                  value={search}
                  onChange={(_, value) => change("search", value)}
                  onClear={() => change("search", "")}
                />
              </ToolbarItem>
              {families.length > 0 && (
                <ToolbarItem>
                  <PickOne
                    label="Series"
                    value={series ?? ""}
                    onPick={(value) => change("series", value)}
                    choices={[
                      { value: "", words: "All series" },
                      ...families.map((value) => ({ value, words: value })),
                    ]}
                  />
                </ToolbarItem>
              )}
              <ToolbarItem>
                <SearchInput
                  aria-label="Framework"
                  placeholder="Framework, such as onnx"
                  value={framework}
                  onChange={(_, value) => change("framework", value)}
                  onClear={() => change("framework", "")}
                />
              </ToolbarItem>
            </ToolbarGroup>
            <ToolbarItem>
              <ToggleGroup aria-label="Which">
                <ToggleGroupItem text="Present" isSelected={!deleted} onChange={() => change("deleted", "")} />
                <ToggleGroupItem text="Deleted" isSelected={deleted} onChange={() => change("deleted", "1")} />
              </ToggleGroup>
            </ToolbarItem>
            {found.length > SIZE && (
              <ToolbarItem variant="pagination" align={{ default: "alignEnd" }}>
                <Pagination
                  isCompact
                  itemCount={found.length}
                  page={page}
                  perPage={SIZE}
                  perPageOptions={[]}
                  onSetPage={(_, next) => setPage(next)}
                  titles={{ paginationAriaLabel: "Pages of registered models" }}
                />
              </ToolbarItem>
            )}
          </ToolbarContent>
        </Toolbar>
        {registered.error && !all ? (
          <Failed error={registered.error} retry={() => void registered.refetch()} />
        ) : !all ? (
          <Skeleton height="20rem" screenreaderText="Loading registered models" />
        ) : found.length > 0 ? (
          <RegistryTable models={found.slice((page - 1) * SIZE, page * SIZE)} isDeleted={deleted} />
        ) : isFiltered ? (
          <NothingFound isDeleted={deleted} clear={clear} />
        ) : (
          <Nothing />
        )}
      </PageSection>
    </>
  );
}

function chosen(models: Registered[], search: string, series: string): Registered[] {
  const part = search.toLowerCase();
  return models.filter(
    (model) =>
      (!series || model.series === series) &&
      (!part ||
        [model.name, model.description, model.series, ...Object.entries(model.labels).map((label) => label.join("="))]
          .join("\n")
          .toLowerCase()
          .includes(part)),
  );
}

function NothingFound({ isDeleted, clear }: { isDeleted: boolean; clear: () => void }) {
  return (
    <EmptyState icon={SearchIcon} titleText={isDeleted ? "Nothing deleted" : "No model matches"} headingLevel="h2">
      <EmptyStateBody>
        {isDeleted
          ? "A registered model that is deleted is here for a week, and can be restored."
          : "No registered model of this namespace is like this."}
      </EmptyStateBody>
      <EmptyStateFooter>
        <EmptyStateActions>
          <Button variant="link" onClick={clear}>
            {isDeleted ? "Show those that are there" : "Clear filters"}
          </Button>
        </EmptyStateActions>
      </EmptyStateFooter>
    </EmptyState>
  );
}

function Nothing() {
  return (
    <EmptyState icon={ArchiveIcon} titleText="No registered models yet" headingLevel="h2">
      <EmptyStateBody>
        A registered model has versions with their files, metrics and lineage, and aliases such as stable that say which
        one is meant. Push a file or a folder, and serve it by its alias:
      </EmptyStateBody>
      <EmptyStateFooter>
        <div className="yard-lines">
          <Snippet
            label="the commands"
            text={[
              "modelyard push model.onnx reader@1.0.0 --metric accuracy=0.96 --alias stable",
              "modelyard deploy reader reader@stable",
            ].join("\n")}
          />
        </div>
      </EmptyStateFooter>
    </EmptyState>
  );
}
