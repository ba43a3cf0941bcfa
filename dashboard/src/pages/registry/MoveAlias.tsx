/** Promote: have an alias point at a version, after a look at which served models follow it. */

import { Checkbox, List, ListItem, TextInput, Title } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";
import { Link } from "react-router";

import { ApiError } from "../../api/client";
import { useModels } from "../../api/queries";
import { Field, FormDialog, ReasonField } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { PickOne } from "../../components/Pick";
import { moveAlias } from "./commands";
import { askAgain, useAliases, useVersions, type Place } from "./queries";
import { following } from "./served";

// Kept by the registry itself.
const LATEST = "latest";
const NEW = "";

interface Props {
  place: Place;
  alias?: string;
  version?: string;
  close: () => void;
}

export function MoveAlias({ place, alias: given, version: wanted, close }: Props) {
  const aliases = (useAliases(place).data ?? []).filter(({ alias }) => alias !== LATEST);
  const versions = useVersions(place).data ?? [];
  const models = useModels().data ?? [];
  const [picked, pick] = useState(given);
  const [typed, type] = useState("");
  const [version, setVersion] = useState(wanted);
  const [reason, setReason] = useState("");
  const [force, setForce] = useState(false);
  const id = useId();
  // The one that most models name, where it is there.
  const usual = aliases.find((one) => one.alias === "stable") ?? aliases[0];
  const chosen = picked ?? usual?.alias ?? NEW;
  const alias = chosen === NEW ? typed.trim() : chosen;
  const to = version ?? versions[0]?.version ?? "";
  const now = aliases.find((one) => one.alias === alias)?.version ?? null;
  const moving = useMutation({
    mutationFn: () => moveAlias(place, { alias, version: to, expected: now, reason, force }),
    onSuccess: () => {
      notify("success", `${place.name}@${alias} means ${to}`, now ? `Before it was ${now}.` : undefined);
      close();
    },
    // Somebody else may have moved it: what is shown next is where it is now.
    onError: () => void askAgain(place),
  });
  const drops = moving.error instanceof ApiError && moving.error.code === "accuracy_drop";
  const wrong = alias === LATEST ? "latest is kept by the registry: it is the newest release." : undefined;
  const isSame = now === to;
  return (
    <FormDialog
      title={`Promote a version of ${place.name}`}
      description="An alias says which version is meant. It is moved in one step, and can be rolled back in one."
      words={now ? `Move ${alias} from ${now} to ${to}` : "Promote"}
      refused="It was not moved"
      mutation={moving}
      submit={moving.mutate}
      close={close}
      isDisabled={!alias || !to || wrong !== undefined || isSame || (force && !reason.trim())}
      variant="medium"
    >
      <Field label="Alias" id={`${id}-alias`}>
        <PickOne
          label="Alias"
          isFullWidth
          value={chosen}
          onPick={pick}
          choices={[
            ...aliases.map((one) => ({ value: one.alias, words: one.alias, description: `now ${one.version}` })),
            { value: NEW, words: "A new alias" },
          ]}
        />
      </Field>
      {chosen === NEW && (
        <Field label="Its name" id={`${id}-new`} wrong={wrong} isRequired>
          <TextInput
            id={`${id}-new`}
            value={typed}
            placeholder="stable"
            autoComplete="off"
            validated={wrong ? "error" : "default"}
            onChange={(_, value) => type(value)}
          />
        </Field>
      )}
      <Field label="Version" id={`${id}-version`}>
        <PickOne
          label="Version"
          isFullWidth
          value={to}
          onPick={setVersion}
          choices={versions.map((one) => ({
            value: one.version,
            words: one.version,
            description: one.version === now ? "where it points now" : one.description || undefined,
          }))}
        />
      </Field>
      <ReasonField reason={reason} write={setReason} />
      {drops && (
        <Checkbox
          id={`${id}-force`}
          label="Promote it although its accuracy drops past its limit; say why above"
          isChecked={force}
          onChange={(_, on) => setForce(on)}
        />
      )}
      <section aria-live="polite" aria-label="What comes of it">
        <Title headingLevel="h2" size="md">
          What comes of it
        </Title>
        {isSame ? (
          <p>
            {alias} means {to} already.
          </p>
        ) : alias && to ? (
          <Effect place={place} alias={alias} now={now} to={to} models={models} />
        ) : (
          <p className="yard-quiet">Name the alias and the version.</p>
        )}
      </section>
    </FormDialog>
  );
}

interface EffectProps {
  place: Place;
  alias: string;
  now: string | null;
  to: string;
  models: Parameters<typeof following>[0];
}

export function Effect({ place, alias, now, to, models }: EffectProps) {
  const found = following(models, place, alias, to);
  return (
    <>
      <p>
        {place.name}@{alias}: {now ?? "nothing"} → {to}.{" "}
        {found.length === 0
          ? "No served model that you can see names it."
          : `${found.filter(({ isRolled }) => isRolled).length} of ${found.length} that name it would be rolled.`}
      </p>
      {found.length > 0 && (
        <List>
          {found.map(({ model, words }) => (
            <ListItem key={model.uid}>
              <Link to={`/models/${model.namespace}/${model.name}`}>{model.name}</Link> {words}
            </ListItem>
          ))}
        </List>
      )}
    </>
  );
}
