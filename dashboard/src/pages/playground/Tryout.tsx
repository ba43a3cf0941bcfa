/** Which revision, beside which other, and in which way a model is tried. */

import "./playground.css";

import {
  Toolbar,
  ToolbarContent,
  ToolbarGroup,
  ToolbarItem,
  ToggleGroup,
  ToggleGroupItem,
} from "@patternfly/react-core";
import { useId, useState, type ReactNode } from "react";

import type { Model } from "../../api/queries";
import { PickOne } from "../../components/Pick";
import { PickBySearch, type Found } from "../../components/PickBySearch";
import { STATES } from "../../components/StateLabel";
import { sourceOf } from "../models/ModelTable";
import { Bench } from "./Bench";
import { servingRevisions } from "./call";
import { Chat } from "./Chat";
import { chats, idOf, wordsOf, written, type Target } from "./targets";

interface Props {
  target: Target;
  beside: Target | null;
  models: Model[];
  /** `beside` as in the address; "" for nobody. */
  change: (change: { revision?: string; beside?: string }) => void;
  /** What comes first in the toolbar. */
  children?: ReactNode;
}

export function Tryout({ target, beside, models, change, children }: Props) {
  const id = useId();
  const [isChat, setChat] = useState(chats(target.model));
  const revisions = servingRevisions(target.model);
  const showsChat = isChat && chats(target.model);
  return (
    <>
      <Toolbar inset={{ default: "insetNone" }}>
        <ToolbarContent>
          {children}
          {(revisions.length > 1 || target.revision) && (
            <ToolbarItem>
              <PickOne
                label="Revision"
                value={target.revision}
                onPick={(revision) => change({ revision })}
                choices={[
                  { value: "", words: "Whichever its traffic goes to" },
                  ...revisions.map((revision) => ({ value: revision, words: `Revision ${revision}` })),
                ]}
              />
            </ToolbarItem>
          )}
          {!showsChat && (
            <ToolbarItem>
              <PickBySearch
                id={`${id}-beside`}
                label="Compare with"
                placeholder="Compare with…"
                value={beside ? written(beside) : ""}
                onPick={(next) => change({ beside: next })}
                choices={others(target, beside, models)}
              />
            </ToolbarItem>
          )}
          {chats(target.model) && (
            <ToolbarGroup align={{ default: "alignEnd" }}>
              <ToggleGroup aria-label="How it is asked">
                <ToggleGroupItem text="Chat" isSelected={showsChat} onChange={() => setChat(true)} />
                <ToggleGroupItem text="Request" isSelected={!showsChat} onChange={() => setChat(false)} />
              </ToggleGroup>
            </ToolbarGroup>
          )}
        </ToolbarContent>
      </Toolbar>
      {showsChat ? (
        <Chat key={target.model.uid} target={target} />
      ) : (
        <Bench key={target.model.uid} target={target} beside={beside} />
      )}
    </>
  );
}

/** Other models, and the other revisions of this one that serve now. */
function others(target: Target, beside: Target | null, models: Model[]): Found[] {
  const revisions = servingRevisions(target.model);
  const own = revisions.length > 1 ? revisions.filter((revision) => revision !== target.revision) : [];
  return [
    ...(beside ? [{ value: "", words: "Nobody" }] : []),
    ...own.map((revision) => {
      const one = { model: target.model, revision };
      return { value: written(one), words: wordsOf(one) };
    }),
    ...choicesOf(models.filter((model) => model.uid !== target.model.uid && model.status.endpoints.infer)),
  ];
}

/** Found by their namespace and source as well. */
export function choicesOf(models: Model[]): Found[] {
  const names = new Set<string>();
  const twice = new Set(models.map(({ name }) => name).filter((name) => names.size === names.add(name).size));
  return models.map((model) => ({
    value: idOf(model),
    words:
      (twice.has(model.name) ? idOf(model) : model.name) +
      (model.status.state === "running" ? "" : `, ${STATES[model.status.state].word.toLowerCase()}`),
    also: `${model.namespace} ${sourceOf(model)}`,
  }));
}
