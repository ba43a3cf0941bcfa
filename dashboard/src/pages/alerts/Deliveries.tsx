/** What was sent to a webhook, and what came of it. */

import { Button, Label, Modal, ModalBody, ModalFooter, ModalHeader } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useId, useState } from "react";

import { Ago } from "../../components/Ago";
import { ErrorAlert } from "../../components/Failed";
import { many } from "../../components/quantities";
import { LoadingRows } from "../../components/Rows";
import { useDeliveries, type Delivery, type Webhook } from "./calls";

const STATES = {
  pending: { words: "Waiting", status: "info" },
  delivered: { words: "Taken", status: "success" },
  dead: { words: "Given up", status: "danger" },
} as const;
const EVENTS = { firing: "fires", resolved: "is over", test: "Test" } as const;

export function DeliveriesDialog({ scope, hook, close }: { scope: string; hook: Webhook; close: () => void }) {
  const [token, goTo] = useState("");
  const deliveries = useDeliveries(scope, hook.name, token);
  const id = useId();
  const next = deliveries.data?.next_page_token ?? "";
  return (
    <Modal isOpen onClose={close} variant="large" aria-labelledby={`${id}-title`}>
      <ModalHeader
        title={`Deliveries of ${hook.name}`}
        labelId={`${id}-title`}
        description="The newest first. What was taken is kept for a week."
      />
      <ModalBody tabIndex={0} role="region" aria-label="Deliveries">
        <div role="status">
          {deliveries.error && <ErrorAlert title="The deliveries could not be read" error={deliveries.error} />}
          {!deliveries.data ? (
            <LoadingRows words="Loading deliveries" />
          ) : deliveries.data.items.length === 0 ? (
            <p className="yard-quiet">Nothing was sent to it yet.</p>
          ) : (
            <Table aria-label="Deliveries" variant="compact">
              <Thead>
                <Tr>
                  <Th>State</Th>
                  <Th>What</Th>
                  <Th>Made</Th>
                  <Th>Tried</Th>
                  <Th width={40}>Answer</Th>
                </Tr>
              </Thead>
              <Tbody>
                {deliveries.data.items.map((delivery) => (
                  <Tr key={delivery.id}>
                    <Td dataLabel="State">
                      <DeliveryState of={delivery} />
                    </Td>
                    <Td dataLabel="What">{whatOf(delivery)}</Td>
                    <Td dataLabel="Made">
                      <Ago at={delivery.created_at} />
                    </Td>
                    <Td dataLabel="Tried" className="yard-number">
                      {many(delivery.attempts, "time")}
                    </Td>
                    <Td dataLabel="Answer" modifier="breakWord">
                      <Answer of={delivery} />
                    </Td>
                  </Tr>
                ))}
              </Tbody>
            </Table>
          )}
        </div>
      </ModalBody>
      <ModalFooter>
        <Button variant="primary" onClick={close}>
          Close
        </Button>
        <Button variant="link" onClick={() => void deliveries.refetch()} isLoading={deliveries.isFetching}>
          Look again
        </Button>
        {next && (
          <Button variant="link" onClick={() => goTo(next)}>
            Older
          </Button>
        )}
      </ModalFooter>
    </Modal>
  );
}

export function DeliveryState({ of }: { of: Delivery }) {
  const { words, status } = STATES[of.state];
  return (
    <Label status={status} isCompact>
      {words}
    </Label>
  );
}

export const whatOf = ({ event, namespace, model }: Delivery) =>
  model ? `${namespace}/${model} ${EVENTS[event]}` : EVENTS[event];

export function Answer({ of }: { of: Delivery }) {
  return (
    <>
      {of.status !== null && of.status} {of.error}
      {of.next_at && of.attempts > 0 && (
        <div className="yard-quiet">
          next try <Ago at={of.next_at} />
        </div>
      )}
    </>
  );
}
