/** API keys, of one namespace or of all: those that work, and apart from them those that have ended. */

import {
  Button,
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
  ExpandableSection,
  Toolbar,
  ToolbarContent,
  ToolbarItem,
} from "@patternfly/react-core";
import { KeyIcon } from "@patternfly/react-icons";
import { useState } from "react";

import { Failed } from "../../components/Failed";
import { LoadingRows } from "../../components/Rows";
import { useKeys, type ApiKey, type NewApiKey } from "./calls";
import { CreateKeyDialog } from "./CreateKeyDialog";
import { RevokeKeyDialog, RotateKeyDialog } from "./KeyDialogs";
import { EndedKeys, WorkingKeys } from "./KeyTables";
import { SecretDialog } from "./SecretDialog";

type Dialog = { what: "create" } | { what: "rotate" | "revoke"; key: ApiKey } | { what: "secret"; key: NewApiKey };

export const hasEnded = ({ revoked_at, expires_at }: ApiKey) =>
  revoked_at !== null || (expires_at !== null && Date.parse(expires_at) <= Date.now());

export function Keys({ scope }: { scope: string }) {
  const keys = useKeys(scope);
  const [dialog, show] = useState<Dialog | null>(null);
  const close = () => show(null);
  const made = (key: NewApiKey) => show({ what: "secret", key });
  const create = (
    <Button variant="primary" onClick={() => show({ what: "create" })}>
      Make a key
    </Button>
  );
  if (keys.error && !keys.data) return <Failed error={keys.error} retry={() => void keys.refetch()} />;
  const working = keys.data?.filter((key) => !hasEnded(key)) ?? [];
  const ended = keys.data?.filter(hasEnded) ?? [];
  return (
    <>
      {!keys.data ? (
        <LoadingRows words="Loading keys" />
      ) : working.length === 0 ? (
        <EmptyState icon={KeyIcon} titleText={ended.length ? "No key works now" : "No keys yet"} headingLevel="h2">
          <EmptyStateBody>
            A program shows an API key to call models, or to run them. Each has a role, and may have models, an end and
            a rate of its own.
          </EmptyStateBody>
          <EmptyStateFooter>
            <EmptyStateActions>{create}</EmptyStateActions>
          </EmptyStateFooter>
        </EmptyState>
      ) : (
        <>
          <Toolbar>
            <ToolbarContent>
              <ToolbarItem>{create}</ToolbarItem>
            </ToolbarContent>
          </Toolbar>
          <WorkingKeys
            keys={working}
            rotate={(key) => show({ what: "rotate", key })}
            revoke={(key) => show({ what: "revoke", key })}
          />
        </>
      )}
      {ended.length > 0 && (
        <ExpandableSection toggleText={`Revoked and expired (${ended.length})`}>
          <EndedKeys keys={ended} />
        </ExpandableSection>
      )}
      {dialog?.what === "create" && <CreateKeyDialog scope={scope} close={close} made={made} />}
      {dialog?.what === "rotate" && <RotateKeyDialog scope={scope} of={dialog.key} close={close} made={made} />}
      {dialog?.what === "revoke" && <RevokeKeyDialog scope={scope} of={dialog.key} close={close} />}
      {dialog?.what === "secret" && <SecretDialog made={dialog.key} close={close} />}
    </>
  );
}
