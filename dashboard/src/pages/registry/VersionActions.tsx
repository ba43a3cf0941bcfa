/** What can be done with a version; what cannot says why. */

import { Divider, Dropdown, DropdownItem, DropdownList, MenuToggle } from "@patternfly/react-core";
import { EllipsisVIcon } from "@patternfly/react-icons";
import { useState } from "react";
import { useNavigate } from "react-router";

import { MoveAlias } from "./MoveAlias";
import { useNeedsEdit } from "./needs";
import type { Place } from "./queries";
import { DeleteRegistered } from "./Removing";

export function VersionActions({ place, version, toggle }: { place: Place; version: string; toggle?: string }) {
  const [isOpen, open] = useState(false);
  const [dialog, show] = useState<"move" | "delete" | null>(null);
  const navigate = useNavigate();
  const why = useNeedsEdit(place);
  const source = encodeURIComponent(`${place.name}@${version}`);
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
            aria-label={`Actions of ${version}`}
          >
            {toggle ?? <EllipsisVIcon />}
          </MenuToggle>
        )}
      >
        <DropdownList>
          <DropdownItem
            key="promote"
            isAriaDisabled={why !== null}
            description={why ?? undefined}
            onClick={why === null ? () => show("move") : undefined}
          >
            Promote…
          </DropdownItem>
          <DropdownItem key="deploy" onClick={() => navigate(`/deploy?source=${source}&namespace=${place.namespace}`)}>
            Deploy…
          </DropdownItem>
          <Divider key="line" component="li" />
          <DropdownItem
            key="delete"
            isDanger
            isAriaDisabled={why !== null}
            description={why ?? undefined}
            onClick={why === null ? () => show("delete") : undefined}
          >
            Delete…
          </DropdownItem>
        </DropdownList>
      </Dropdown>
      {dialog === "move" && <MoveAlias place={place} version={version} close={() => show(null)} />}
      {dialog === "delete" && <DeleteRegistered place={place} version={version} close={() => show(null)} />}
    </>
  );
}
