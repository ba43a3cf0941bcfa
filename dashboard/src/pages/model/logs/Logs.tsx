/** The log of a model: followed while one looks, of all its instances, the ended ones too. */

import {
  Button,
  EmptyState,
  EmptyStateBody,
  SearchInput,
  Skeleton,
  Toolbar,
  ToolbarContent,
  ToolbarGroup,
  ToolbarItem,
} from "@patternfly/react-core";
import { DownloadIcon, PauseIcon, PlayIcon, SearchIcon } from "@patternfly/react-icons";
import { useMutation } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { useSearchParams } from "react-router";

import { api, ask } from "../../../api/client";
import type { Model } from "../../../api/queries";
import { messageOf } from "../../../components/Failed";
import { notify } from "../../../components/notices";
import { PickOne, type Choice } from "../../../components/Pick";
import { many } from "../../../components/quantities";
import { pathOf } from "../parts";
import { chosen, KEPT, type Level, type Line } from "./lines";
import { LogView } from "./LogView";
import { useLog } from "./useLog";

// As many as the server gives at once.
const WHOLE = 10_000;

const LEVELS: { value: Level; words: string }[] = [
  { value: "info", words: "All levels" },
  { value: "warning", words: "Warnings and errors" },
  { value: "error", words: "Errors" },
];

export default function Logs({ model }: { model: Model }) {
  const [parameters, set] = useSearchParams();
  const instance = parameters.get("instance") ?? "";
  const [level, choose] = useState<Level>("info");
  const [search, find] = useState("");
  const [isPaused, pause] = useState(false);
  const [sticks, stick] = useState(true);
  const live = useLog(model, !isPaused);
  const lines = useMemo(() => chosen(live ?? [], { instance, level, search }), [live, instance, level, search]);
  const downloading = useMutation({
    mutationFn: () => download(model, instance),
    onError: (error) => notify("danger", "The log was not downloaded", messageOf(error)),
  });

  return (
    <>
      <Toolbar>
        <ToolbarContent>
          <ToolbarGroup variant="filter-group">
            <ToolbarItem>
              <PickOne
                label="Instance"
                value={instance}
                onPick={(value) => set(value ? { instance: value } : {}, { replace: true })}
                choices={instancesOf(model, live ?? [], instance)}
              />
            </ToolbarItem>
            <ToolbarItem>
              <PickOne label="Level" value={level} onPick={(value) => choose(value as Level)} choices={LEVELS} />
            </ToolbarItem>
            <ToolbarItem>
              <SearchInput
                aria-label="Find in the log"
                placeholder="Find"
                value={search}
                onChange={(_, value) => find(value)}
                onClear={() => find("")}
                resultsCount={search ? lines.length : undefined}
              />
            </ToolbarItem>
          </ToolbarGroup>
          <ToolbarGroup align={{ default: "alignEnd" }}>
            <ToolbarItem>
              <Button
                variant="secondary"
                icon={isPaused ? <PlayIcon /> : <PauseIcon />}
                onClick={() => pause(!isPaused)}
              >
                {isPaused ? "Follow" : "Pause"}
              </Button>
            </ToolbarItem>
            <ToolbarItem>
              <Button
                variant="secondary"
                icon={<DownloadIcon />}
                isLoading={downloading.isPending}
                onClick={() => downloading.mutate()}
              >
                Download
              </Button>
            </ToolbarItem>
          </ToolbarGroup>
        </ToolbarContent>
      </Toolbar>
      {live === null ? (
        <Skeleton height="24rem" screenreaderText="Loading the log" />
      ) : lines.length > 0 ? (
        <>
          <LogView lines={lines} search={search} withInstance={!instance} sticks={sticks} stick={stick} />
          <p className="yard-log-foot yard-quiet">
            <span role="status">
              {many(lines.length, "line")}
              {live.length >= KEPT && `, the last ${KEPT} that came`}
              {isPaused && "; paused"}
            </span>{" "}
            {!sticks && (
              <Button variant="link" isInline onClick={() => stick(true)}>
                To the newest line
              </Button>
            )}
          </p>
        </>
      ) : live.length > 0 ? (
        <EmptyState icon={SearchIcon} titleText="No line matches" headingLevel="h2" variant="sm">
          <EmptyStateBody>None of the {live.length} lines that are here is of this kind.</EmptyStateBody>
        </EmptyState>
      ) : (
        <EmptyState titleText="Nothing was written yet" headingLevel="h2" variant="sm">
          <EmptyStateBody>
            What an instance writes appears here as it writes it, and stays when it has ended.
          </EmptyStateBody>
        </EmptyState>
      )}
    </>
  );
}

function instancesOf(model: Model, lines: Line[], picked: string): Choice[] {
  const living = new Set(model.status.instances.map(({ id }) => id));
  const ended = [...new Set([...lines.map((line) => line.instance).reverse(), ...(picked ? [picked] : [])])].filter(
    (id) => !living.has(id),
  );
  return [
    { value: "", words: "All instances" },
    ...[...living].map((id) => ({ value: id, words: id, description: "There now" })),
    ...ended.map((id, index) => ({
      value: id,
      words: id,
      description: index === 0 ? "Ended; the previous run" : "Ended",
    })),
  ];
}

async function download(model: Model, instance: string) {
  const { items } = await ask(
    api.GET("/api/v1/namespaces/{namespace}/models/{name}/logs", {
      params: { path: pathOf(model), query: { tail: WHOLE, ...(instance ? { instance } : {}) } },
    }),
  );
  const text = items.map((line) => (instance ? line.text : `${line.instance} ${line.text}`)).join("\n");
  const url = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `${model.namespace}-${model.name}${instance ? `-${instance}` : ""}.log`;
  link.click();
  URL.revokeObjectURL(url);
}
