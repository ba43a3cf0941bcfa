/** What can be done with the models that are selected. */

import { Divider, Dropdown, DropdownItem, DropdownList, MenuToggle } from "@patternfly/react-core";
import { useState } from "react";

import type { Model } from "../../../api/queries";
import { BulkDialog } from "./BulkDialog";
import { ACTIONS, type Action } from "./order";

export function BulkMenu({ models, clear }: { models: Model[]; clear: () => void }) {
  const [isOpen, open] = useState(false);
  const [asked, ask] = useState<{ action: Action; models: Model[] } | null>(null);
  return (
    <>
      <Dropdown
        isOpen={isOpen}
        onOpenChange={open}
        onSelect={() => open(false)}
        toggle={(ref) => (
          <MenuToggle ref={ref} onClick={() => open(!isOpen)} isExpanded={isOpen} isDisabled={models.length === 0}>
            {models.length > 0 ? `${models.length} selected` : "With selected"}
          </MenuToggle>
        )}
      >
        <DropdownList>
          {(Object.keys(ACTIONS) as Action[]).map((action) => (
            <BulkItem key={action} action={action} ask={() => ask({ action, models })} />
          ))}
          <Divider component="li" key="line" />
          <DropdownItem key="clear" onClick={clear}>
            Select none
          </DropdownItem>
        </DropdownList>
      </Dropdown>
      {asked && (
        <BulkDialog
          {...asked}
          close={() => {
            ask(null);
            clear();
          }}
        />
      )}
    </>
  );
}

function BulkItem({ action, ask }: { action: Action; ask: () => void }) {
  return (
    <DropdownItem isDanger={action === "delete"} onClick={ask}>
      {ACTIONS[action].words}…
    </DropdownItem>
  );
}
