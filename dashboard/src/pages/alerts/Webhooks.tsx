/** Who is told of alerts, what was sent to them, and what could not be. */

import {
  Button,
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
  Label,
  Toolbar,
  ToolbarContent,
  ToolbarItem,
} from "@patternfly/react-core";
import { OutlinedPaperPlaneIcon } from "@patternfly/react-icons";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { Ago } from "../../components/Ago";
import { Failed, messageOf } from "../../components/Failed";
import { notify } from "../../components/notices";
import { LoadingRows } from "../../components/Rows";
import { RowActions } from "../../components/RowActions";
import { askWebhooksAgain, testWebhook, useWebhooks, type Webhook, type WebhookSet } from "./calls";
import { DeadLetters } from "./DeadLetters";
import { DeliveriesDialog } from "./Deliveries";
import { KINDS, severityWords } from "./kinds";
import { DeleteWebhookDialog, SigningSecretDialog, WebhookDialog } from "./WebhookDialogs";

type Dialog =
  | { what: "set"; hook: Webhook | null }
  | { what: "drop" | "deliveries"; hook: Webhook }
  | { what: "secret"; hook: WebhookSet };

export function Webhooks({ scope }: { scope: string }) {
  const webhooks = useWebhooks(scope);
  const [dialog, show] = useState<Dialog | null>(null);
  const close = () => show(null);
  const testing = useMutation({
    mutationFn: (hook: Webhook) => testWebhook(scope, hook.name),
    onSuccess: (_, hook) => {
      void askWebhooksAgain(scope);
      show({ what: "deliveries", hook });
    },
    onError: (error, hook) => notify("danger", `No test was sent to ${hook.name}`, messageOf(error)),
  });
  const add = (
    <Button variant="primary" onClick={() => show({ what: "set", hook: null })}>
      Add a webhook
    </Button>
  );
  if (webhooks.error && !webhooks.data) {
    return <Failed error={webhooks.error} retry={() => void webhooks.refetch()} />;
  }
  return (
    <>
      {!webhooks.data ? (
        <LoadingRows words="Loading webhooks" />
      ) : webhooks.data.length === 0 ? (
        <EmptyState icon={OutlinedPaperPlaneIcon} titleText="Nobody is told yet" headingLevel="h2">
          <EmptyStateBody>
            A webhook takes alerts to where people look: a chat, a pager, or an Alertmanager. Each request is signed.
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
          <Table aria-label="Webhooks" variant="compact">
            <Thead>
              <Tr>
                <Th>Name</Th>
                <Th>To</Th>
                <Th>Told of</Th>
                <Th>Changed</Th>
                <Th screenReaderText="Actions" />
              </Tr>
            </Thead>
            <Tbody>
              {webhooks.data.map((hook) => (
                <Tr key={hook.name}>
                  <Td dataLabel="Name">
                    {hook.name}{" "}
                    {!hook.enabled && (
                      <Label isCompact color="grey">
                        Off
                      </Label>
                    )}
                  </Td>
                  <Td dataLabel="To">
                    {hook.url}
                    <div className="yard-quiet">{hook.format === "alertmanager" ? "Alertmanager" : "Modelyard"}</div>
                  </Td>
                  <Td dataLabel="Told of">{toldOf(hook)}</Td>
                  <Td dataLabel="Changed">
                    <Ago at={hook.updated_at} />
                  </Td>
                  <Td isActionCell>
                    <RowActions
                      of={hook.name}
                      actions={[
                        {
                          words: "Send a test",
                          act: () => testing.mutate(hook),
                          ...(hook.enabled ? {} : { why: "It is off." }),
                        },
                        { words: "Deliveries…", act: () => show({ what: "deliveries", hook }) },
                        { words: "Edit…", act: () => show({ what: "set", hook }) },
                        { words: "Delete…", act: () => show({ what: "drop", hook }), isDanger: true },
                      ]}
                    />
                  </Td>
                </Tr>
              ))}
            </Tbody>
          </Table>
        </>
      )}
      <DeadLetters scope={scope} />
      {dialog?.what === "set" && (
        <WebhookDialog
          scope={scope}
          hook={dialog.hook}
          close={close}
          done={(hook) => (hook.secret ? show({ what: "secret", hook }) : close())}
        />
      )}
      {dialog?.what === "drop" && <DeleteWebhookDialog scope={scope} hook={dialog.hook} close={close} />}
      {dialog?.what === "deliveries" && <DeliveriesDialog scope={scope} hook={dialog.hook} close={close} />}
      {dialog?.what === "secret" && <SigningSecretDialog hook={dialog.hook} close={close} />}
    </>
  );
}

function toldOf({ kinds, severities, namespaces }: Webhook): string {
  const said = [
    ...severities.map(severityWords),
    ...kinds.map((kind) => KINDS[kind].words),
    ...namespaces.map((name) => `namespace ${name}`),
  ];
  return said.length ? said.join(", ") : "all alerts";
}
