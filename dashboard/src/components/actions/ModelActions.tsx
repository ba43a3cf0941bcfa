/** What can be done with a model now, for a row of the table and for its own page; what cannot says why. */

import { Dropdown, DropdownItem, DropdownList, Divider, MenuToggle } from "@patternfly/react-core";
import { EllipsisVIcon } from "@patternfly/react-icons";
import { useState, type ReactNode } from "react";
import { useNavigate } from "react-router";

import type { Model } from "../../api/queries";
import { useCommand } from "./commands";
import { DeleteDialog } from "./DeleteDialog";
import { useRefusal, type Command } from "./lifecycle";
import { StopDialog } from "./StopDialog";

type Dialog = "stop" | "delete";

interface Action {
  command: Command;
  words: string;
  act: () => void;
}

export function ModelActions({ model, toggle, gone }: { model: Model; toggle?: ReactNode; gone?: () => void }) {
  const [isOpen, open] = useState(false);
  const [dialog, show] = useState<Dialog | null>(null);
  const refusal = useRefusal();
  const command = useCommand(model);
  const navigate = useNavigate();
  const path = `/models/${model.namespace}/${model.name}`;
  const actions: (Action | null)[] = [
    { command: "start", words: "Start", act: () => command.mutate({ command: "start" }) },
    { command: "stop", words: "Stop…", act: () => show("stop") },
    { command: "restart", words: "Restart", act: () => command.mutate({ command: "restart" }) },
    { command: "update", words: "Update…", act: () => navigate(`${path}/update`) },
    null,
    { command: "delete", words: "Delete…", act: () => show("delete") },
  ];
  return (
    <>
      <Dropdown
        isOpen={isOpen}
        onOpenChange={open}
        onSelect={() => open(false)}
        popperProps={{ position: "end" }}
        toggle={(ref) => (
          <MenuToggle
            ref={ref}
            variant={toggle ? "default" : "plain"}
            onClick={() => open(!isOpen)}
            isExpanded={isOpen}
            aria-label={`Actions of ${model.name}`}
          >
            {toggle ?? <EllipsisVIcon />}
          </MenuToggle>
        )}
      >
        <DropdownList>
          {actions.map((action) => {
            if (!action) return <Divider key="line" component="li" />;
            const why = refusal(model, action.command);
            return (
              <DropdownItem
                key={action.command}
                isAriaDisabled={why !== null}
                description={why ?? undefined}
                isDanger={action.command === "delete"}
                onClick={why === null ? action.act : undefined}
              >
                {action.words}
              </DropdownItem>
            );
          })}
        </DropdownList>
      </Dropdown>
      {dialog === "stop" && <StopDialog model={model} close={() => show(null)} />}
      {dialog === "delete" && <DeleteDialog model={model} close={() => show(null)} {...(gone ? { done: gone } : {})} />}
    </>
  );
}
