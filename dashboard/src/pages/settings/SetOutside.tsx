/** All settings that no page can change: what each is, and the name to set it by. */

import { Label, SearchInput, Switch, Toolbar, ToolbarContent, ToolbarItem } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useState } from "react";

import { Failed } from "../../components/Failed";
import { LoadingRows } from "../../components/Rows";
import { useInstallation } from "./calls";

export function SetOutside() {
  const installation = useInstallation();
  const [search, find] = useState("");
  const [onlyGiven, limit] = useState(false);
  if (installation.error && !installation.data) {
    return <Failed error={installation.error} retry={() => void installation.refetch()} />;
  }
  if (!installation.data) return <LoadingRows rows={10} words="Loading settings" />;
  const words = search.toLowerCase();
  const found = installation.data.settings.filter(
    ({ name, about, given }) =>
      (!onlyGiven || given) && (name.toLowerCase().includes(words) || about.toLowerCase().includes(words)),
  );
  return (
    <>
      <p className="yard-quiet">
        Set in the environment, or in <code>modelyard.toml</code> (without <code>MODELYARD_</code>, in small letters).
        They hold from the next <code>modelyard up</code> on.
      </p>
      <Toolbar>
        <ToolbarContent>
          <ToolbarItem>
            <SearchInput
              aria-label="Find a setting"
              placeholder="Find a setting"
              value={search}
              onChange={(_, value) => find(value)}
              onClear={() => find("")}
            />
          </ToolbarItem>
          <ToolbarItem alignSelf="center">
            <Switch
              id="only-given"
              label="Only those that are set"
              isChecked={onlyGiven}
              onChange={(_, on) => limit(on)}
            />
          </ToolbarItem>
        </ToolbarContent>
      </Toolbar>
      <Table aria-label="Settings" variant="compact" isStickyHeader>
        <Thead>
          <Tr>
            <Th>Name</Th>
            <Th>Value</Th>
            <Th width={50}>What it is</Th>
          </Tr>
        </Thead>
        <Tbody>
          {found.map(({ name, value, hidden, given, about }) => (
            <Tr key={name}>
              <Td dataLabel="Name">
                <code>{name}</code>{" "}
                {given && (
                  <Label isCompact variant="outline">
                    Set
                  </Label>
                )}
              </Td>
              <Td dataLabel="Value" modifier="breakWord">
                {hidden ? <em>hidden</em> : value || <span className="yard-quiet">nothing</span>}
              </Td>
              <Td dataLabel="What it is" modifier="breakWord">
                {about}
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
      <p role="status" className="yard-quiet">
        {found.length === 0 && "No setting is like that."}
      </p>
    </>
  );
}
