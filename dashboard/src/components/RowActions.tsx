/** What can be done with a row; what cannot says why. */

import { Dropdown, DropdownItem, DropdownList, MenuToggle } from "@patternfly/react-core";
import { EllipsisVIcon } from "@patternfly/react-icons";
import { useState } from "react";

export interface RowAction {
  words: string;
  act: () => void;
  /** Why it cannot be done now. */
  why?: string | undefined;
  isDanger?: boolean;
}

export function RowActions({ of, actions }: { of: string; actions: RowAction[] }) {
  const [isOpen, open] = useState(false);
  return (
    <Dropdown
      isOpen={isOpen}
      onOpenChange={open}
      onSelect={() => open(false)}
      popperProps={{ position: "end" }}
      toggle={(ref) => (
        <MenuToggle
          ref={ref}
          variant="plain"
          onClick={() => open(!isOpen)}
          isExpanded={isOpen}
          aria-label={`Actions of ${of}`}
        >
          <EllipsisVIcon />
        </MenuToggle>
      )}
    >
      <DropdownList>
        {actions.map(({ words, act, why, isDanger = false }) => (
          <DropdownItem
            key={words}
            isAriaDisabled={why !== undefined}
            description={why}
            isDanger={isDanger}
            onClick={why === undefined ? act : undefined}
          >
            {words}
          </DropdownItem>
        ))}
      </DropdownList>
    </Dropdown>
  );
}
