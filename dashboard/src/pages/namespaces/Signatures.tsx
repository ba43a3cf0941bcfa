/** Whether a namespace serves signed versions only, and whose signatures it trusts. */

import { Alert, Button, Label, Switch, Toolbar, ToolbarContent, ToolbarItem } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useId, useState } from "react";

import { Ago } from "../../components/Ago";
import { Failed } from "../../components/Failed";
import { many } from "../../components/quantities";
import { LoadingRows } from "../../components/Rows";
import { RowActions } from "../../components/RowActions";
import { useSignaturePolicy, useTrustedKeys } from "./calls";
import { RequireDialog, RevokeTrustDialog, TrustKeyDialog } from "./SignatureDialogs";

export function Signatures({ namespace }: { namespace: string }) {
  const policy = useSignaturePolicy(namespace);
  const keys = useTrustedKeys(namespace);
  const [dialog, show] = useState<"require" | "trust" | { revoke: string } | null>(null);
  const id = useId();
  const close = () => show(null);
  const error = policy.error ?? keys.error;
  if (error && !(policy.data && keys.data)) return <Failed error={error} retry={() => void policy.refetch()} />;
  if (!policy.data || !keys.data) return <LoadingRows words="Loading signatures" />;
  const { require_signature: isRequired, not_startable: stuck } = policy.data;
  const trusted = keys.data.filter(({ revoked_at }) => revoked_at === null);
  return (
    <>
      <Toolbar>
        <ToolbarContent>
          <ToolbarItem alignSelf="center">
            <Switch
              id={`${id}-require`}
              label="Serve signed versions only"
              isChecked={isRequired}
              onChange={() => show("require")}
            />
          </ToolbarItem>
          <ToolbarItem>
            <Button variant="secondary" onClick={() => show("trust")}>
              Trust a key
            </Button>
          </ToolbarItem>
        </ToolbarContent>
      </Toolbar>
      {stuck.length > 0 && (
        <Alert
          variant="warning"
          isInline
          component="p"
          title={`${many(stuck.length, "model")} could not be started now`}
        >
          {stuck.join(", ")}: they run on, and are not started again until a trusted key has signed their version.
        </Alert>
      )}
      {keys.data.length === 0 ? (
        <p className="yard-quiet">
          No key is trusted yet. Trust the public key of whoever signs; versions are signed where the private key is.
        </p>
      ) : (
        <Table aria-label="Keys that may sign versions" variant="compact">
          <Thead>
            <Tr>
              <Th>Name</Th>
              <Th>Kind</Th>
              <Th>Fingerprint</Th>
              <Th>Trusted</Th>
              <Th screenReaderText="Actions" />
            </Tr>
          </Thead>
          <Tbody>
            {keys.data.map((key) => (
              <Tr key={key.fingerprint + key.trusted_at}>
                <Td dataLabel="Name">
                  {key.name}{" "}
                  {key.revoked_at && (
                    <Label isCompact color="red">
                      Revoked
                    </Label>
                  )}
                </Td>
                <Td dataLabel="Kind">{key.kind === "openssf" ? "OpenSSF" : "HMAC"}</Td>
                <Td dataLabel="Fingerprint">
                  <code title={key.fingerprint}>{key.fingerprint.slice(0, 16)}…</code>
                </Td>
                <Td dataLabel="Trusted">
                  <Ago at={key.trusted_at} /> <span className="yard-quiet">by {key.trusted_by}</span>
                  {key.revoked_at && (
                    <div className="yard-quiet">
                      revoked <Ago at={key.revoked_at} /> by {key.revoked_by}
                      {key.revoked_for && `: ${key.revoked_for}`}
                    </div>
                  )}
                </Td>
                <Td isActionCell>
                  <RowActions
                    of={key.name}
                    actions={[
                      {
                        words: "Revoke…",
                        act: () => show({ revoke: key.name }),
                        isDanger: true,
                        ...(key.revoked_at ? { why: "It is revoked, for good." } : {}),
                      },
                    ]}
                  />
                </Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
      {dialog === "require" && (
        <RequireDialog namespace={namespace} require={!isRequired} trusted={trusted.length} close={close} />
      )}
      {dialog === "trust" && <TrustKeyDialog namespace={namespace} close={close} />}
      {dialog !== null && typeof dialog === "object" && (
        <RevokeTrustDialog namespace={namespace} name={dialog.revoke} isRequired={isRequired} close={close} />
      )}
    </>
  );
}
