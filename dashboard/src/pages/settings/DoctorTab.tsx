/** What belongs to nothing any more: first to look at, then to clear. */

import {
  Button,
  Checkbox,
  EmptyState,
  EmptyStateBody,
  Label,
  Toolbar,
  ToolbarContent,
  ToolbarItem,
} from "@patternfly/react-core";
import { CheckCircleIcon } from "@patternfly/react-icons";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { ErrorAlert, Failed } from "../../components/Failed";
import { FormDialog } from "../../components/FormDialog";
import { many } from "../../components/quantities";
import { LoadingRows } from "../../components/Rows";
import { askDoctorAgain, clear, useFindings, type Finding } from "./calls";

const keyOf = ({ kind, id }: Finding) => `${kind} ${id}`;
const isSite = ({ kind }: Finding) => kind === "site";

export function DoctorTab() {
  const findings = useFindings();
  const [picked, pick] = useState<ReadonlySet<string>>(new Set());
  const [isAsking, ask] = useState(false);
  const clearing = useMutation({
    mutationFn: clear,
    onSuccess: () => {
      ask(false);
      pick(new Set());
    },
    onSettled: () => askDoctorAgain(),
  });
  if (findings.error && !findings.data) return <Failed error={findings.error} retry={() => void findings.refetch()} />;
  if (!findings.data) return <LoadingRows words="Looking" />;
  const chosen = findings.data.filter((finding) => picked.has(keyOf(finding)));
  const left = clearing.data?.filter(({ cleared }) => !cleared) ?? [];
  const again = (
    <Button variant="link" onClick={() => void findings.refetch()} isLoading={findings.isFetching}>
      Look again
    </Button>
  );
  return (
    <div role="status">
      {left.length > 0 && (
        <ErrorAlert
          title={`${many(left.length, "finding")} could not be cleared`}
          error={new Error(left.map(({ kind, id, error }) => `${kind} ${id}: ${error ?? ""}`).join(" "))}
        />
      )}
      {findings.data.length === 0 ? (
        <EmptyState icon={CheckCircleIcon} titleText="Everything belongs to something" headingLevel="h2">
          <EmptyStateBody>
            No process, folder, socket, log, route or row is left over, and no site is silent. {again}
          </EmptyStateBody>
        </EmptyState>
      ) : (
        <>
          <Toolbar>
            <ToolbarContent>
              <ToolbarItem>
                <Button variant="primary" isDisabled={chosen.length === 0} onClick={() => ask(true)}>
                  Clear {chosen.length > 0 ? chosen.length : ""}…
                </Button>
              </ToolbarItem>
              <ToolbarItem>{again}</ToolbarItem>
            </ToolbarContent>
          </Toolbar>
          <Table aria-label="What belongs to nothing any more" variant="compact">
            <Thead>
              <Tr>
                <Th screenReaderText="Pick" />
                <Th>What</Th>
                <Th>Which</Th>
                <Th width={50}>Why</Th>
              </Tr>
            </Thead>
            <Tbody>
              {findings.data.map((finding) => (
                <Tr key={keyOf(finding)}>
                  <Td>
                    <Checkbox
                      id={keyOf(finding)}
                      aria-label={`Pick ${keyOf(finding)}`}
                      isChecked={picked.has(keyOf(finding))}
                      onChange={(_, on) => {
                        const next = new Set(picked);
                        if (on) next.add(keyOf(finding));
                        else next.delete(keyOf(finding));
                        pick(next);
                      }}
                    />
                  </Td>
                  <Td dataLabel="What">
                    <Label isCompact>{finding.kind}</Label>
                  </Td>
                  <Td dataLabel="Which" modifier="breakWord">
                    <code>{finding.id}</code>
                  </Td>
                  <Td dataLabel="Why" modifier="breakWord">
                    {finding.message}
                  </Td>
                </Tr>
              ))}
            </Tbody>
          </Table>
        </>
      )}
      {isAsking && (
        <FormDialog
          title={`Clear ${many(chosen.length, "finding")}?`}
          description="Only what is found again just now is cleared."
          words="Clear"
          refused="Nothing was cleared"
          isDangerous
          mutation={clearing}
          submit={() => clearing.mutate(chosen)}
          close={() => ask(false)}
          variant="medium"
        >
          <ul>
            {chosen.map((finding) => (
              <li key={keyOf(finding)}>{finding.message}</li>
            ))}
          </ul>
          {chosen.some(isSite) && (
            <p>
              <strong>A silent site's models become this one's, and what runs of them there counts as lost.</strong>
            </p>
          )}
        </FormDialog>
      )}
    </div>
  );
}
