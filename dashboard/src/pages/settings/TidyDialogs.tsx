/** Make the cache smaller, or collect what no version needs from the store: first what would go, then it goes. */

import { Alert, TextInput } from "@patternfly/react-core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";

import type { Schemas } from "../../api/client";
import { Ago } from "../../components/Ago";
import { ErrorAlert } from "../../components/Failed";
import { Field, FormDialog, wrongWith } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { bytes, many } from "../../components/quantities";
import { LoadingRows } from "../../components/Rows";
import { askCacheAgain, cleanUp, collect } from "./calls";

const SIZE = /^\d+(\.\d+)?([KMGTP]i?)?B?$/;
const STAYS = { pinned: "pinned", in_use: "in use", young: "used a moment ago" } as const;

export function CleanUpDialog({ limit, close }: { limit: number | null; close: () => void }) {
  const [size, setSize] = useState(limit === null ? "0" : "");
  const id = useId();
  const isWrong = size !== "" && !SIZE.test(size);
  const dry = useQuery({
    queryKey: ["tidy", "cache", size],
    queryFn: () => cleanUp(size, true),
    enabled: !isWrong,
    gcTime: 0,
    staleTime: 0,
  });
  const cleaning = useMutation({
    mutationFn: () => cleanUp(size, false),
    onSuccess: ({ removed, freed }) => {
      notify("success", `${many(removed, "version")} left the cache`, `${bytes(freed)} are free.`);
      void askCacheAgain();
      close();
    },
  });
  const would = dry.data;
  return (
    <FormDialog
      title="Clean up the cache"
      description="The longest unused go first; what models run of and what is pinned stays. It is fetched again when it is needed."
      words={would && would.removed > 0 ? `Remove ${would.removed}` : "Remove"}
      refused="It was not cleaned up"
      mutation={cleaning}
      submit={() => cleaning.mutate()}
      close={close}
      isDisabled={isWrong || !would || would.removed === 0}
      variant="medium"
    >
      <Field
        label="At most"
        id={`${id}-size`}
        wrong={isWrong ? "A size: 512Mi, 200Gi, 0." : wrongWith(dry.error, "max_size")}
        help={limit === null ? "There is no limit set." : `Left empty: its limit, ${bytes(limit)}.`}
      >
        <TextInput
          id={`${id}-size`}
          value={size}
          onChange={(_, value) => setSize(value.trim())}
          validated={isWrong ? "error" : "default"}
          autoComplete="off"
        />
      </Field>
      <div role="status">
        {dry.error && <ErrorAlert title="What would go is not known" error={dry.error} />}
        {!isWrong && !would && !dry.error && <LoadingRows rows={2} words="Looking what would go" />}
        {would && <WouldGo evicted={would} />}
      </div>
    </FormDialog>
  );
}

function WouldGo({ evicted }: { evicted: Schemas["Evicted"] }) {
  return (
    <Alert
      variant="info"
      isInline
      component="p"
      title={
        evicted.removed
          ? `${many(evicted.removed, "version")} would go, which frees ${bytes(evicted.freed)}.`
          : "Nothing would go."
      }
    >
      {many(evicted.folders, "version")} with {bytes(evicted.size)} would be left.
      {evicted.kept.length > 0 && (
        <ul>
          {evicted.kept.map(({ manifest, layout, versions, size, reason }) => (
            <li key={manifest + layout}>
              {versions.map(({ name, version }) => `${name}@${version}`).join(", ") || manifest.slice(0, 16)} stays (
              {bytes(size)}): {STAYS[reason]}
            </li>
          ))}
        </ul>
      )}
    </Alert>
  );
}

export function CollectDialog({ close }: { close: () => void }) {
  const dry = useQuery({ queryKey: ["tidy", "store"], queryFn: () => collect(true), gcTime: 0, staleTime: 0 });
  const collecting = useMutation({
    mutationFn: () => collect(false),
    onSuccess: ({ removed, freed }) => {
      notify("success", `${many(removed, "object")} left the store`, `${bytes(freed)} are free.`);
      void askCacheAgain();
      close();
    },
  });
  const would = dry.data;
  return (
    <FormDialog
      title="Collect from the store"
      description="What no version names any more goes. Versions that are deleted and can be restored keep theirs."
      words={would && would.removed > 0 ? `Remove ${would.removed}` : "Collect"}
      refused="It was not collected"
      mutation={collecting}
      submit={() => collecting.mutate()}
      close={close}
      isDisabled={!would || (would.removed === 0 && would.cache.removed === 0)}
      variant="medium"
    >
      <div role="status">
        {dry.error && <ErrorAlert title="What would go is not known" error={dry.error} />}
        {!would && !dry.error && <LoadingRows rows={2} words="Looking what would go" />}
        {would && (
          <Alert
            variant="info"
            isInline
            component="p"
            title={
              would.removed
                ? `${many(would.removed, "object")} would go, which frees ${bytes(would.freed)}.`
                : "Nothing would go."
            }
          >
            {many(would.kept, "object")} are needed
            {would.young > 0 && `, ${many(would.young, "object")} too young to go`}
            {would.condemned > 0 && would.goes_at && (
              <>
                , {many(would.condemned, "object")} go <Ago at={would.goes_at} />
              </>
            )}
            .
          </Alert>
        )}
      </div>
    </FormDialog>
  );
}
