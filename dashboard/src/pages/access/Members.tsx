/** People and groups with a role, of one namespace or of all. */

import {
  Button,
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
  Toolbar,
  ToolbarContent,
  ToolbarItem,
} from "@patternfly/react-core";
import { UsersIcon } from "@patternfly/react-icons";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useState } from "react";

import { Ago } from "../../components/Ago";
import { Failed } from "../../components/Failed";
import { LoadingRows } from "../../components/Rows";
import { RowActions } from "../../components/RowActions";
import { useMembers, type Member } from "./calls";
import { MemberDialog, RemoveMemberDialog } from "./MemberDialogs";
import { Patterns, roleWords } from "./roles";

type Dialog = { change: Member | null } | { remove: Member };

export function Members({ scope }: { scope: string }) {
  const members = useMembers(scope);
  const [dialog, show] = useState<Dialog | null>(null);
  const close = () => show(null);
  const add = (
    <Button variant="primary" onClick={() => show({ change: null })}>
      Add a member
    </Button>
  );
  if (members.error && !members.data) return <Failed error={members.error} retry={() => void members.refetch()} />;
  return (
    <>
      {!members.data ? (
        <LoadingRows words="Loading members" />
      ) : members.data.length === 0 ? (
        <EmptyState icon={UsersIcon} titleText="No members yet" headingLevel="h2">
          <EmptyStateBody>
            A member is a person by e-mail address, or a group of the identity provider. Programs come in by API keys.
          </EmptyStateBody>
          <EmptyStateFooter>
            <EmptyStateActions>{add}</EmptyStateActions>
          </EmptyStateFooter>
        </EmptyState>
      ) : (
        <>
          <Toolbar>
            <ToolbarContent>
              <ToolbarItem>{add}</ToolbarItem>
            </ToolbarContent>
          </Toolbar>
          <Table aria-label="Members" variant="compact">
            <Thead>
              <Tr>
                <Th>Member</Th>
                <Th>Role</Th>
                <Th>Models</Th>
                <Th>Added</Th>
                <Th screenReaderText="Actions" />
              </Tr>
            </Thead>
            <Tbody>
              {members.data.map((member) => (
                <Tr key={member.member}>
                  <Td dataLabel="Member">{member.member}</Td>
                  <Td dataLabel="Role">{roleWords(member.role)}</Td>
                  <Td dataLabel="Models">
                    <Patterns models={member.models} />
                  </Td>
                  <Td dataLabel="Added">
                    <Ago at={member.added_at} />{" "}
                    <span className="yard-quiet">
                      by {member.added_by}
                      {member.reason && `: ${member.reason}`}
                    </span>
                  </Td>
                  <Td isActionCell>
                    <RowActions
                      of={member.member}
                      actions={[
                        { words: "Change…", act: () => show({ change: member }) },
                        { words: "Remove…", act: () => show({ remove: member }), isDanger: true },
                      ]}
                    />
                  </Td>
                </Tr>
              ))}
            </Tbody>
          </Table>
        </>
      )}
      {dialog && "change" in dialog && <MemberDialog scope={scope} member={dialog.change} close={close} />}
      {dialog && "remove" in dialog && <RemoveMemberDialog scope={scope} member={dialog.remove} close={close} />}
    </>
  );
}
