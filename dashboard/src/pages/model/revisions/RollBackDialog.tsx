/** Go back to an earlier revision: what that would change, and then how it goes. */

import { Alert, Button, Form, Modal, ModalBody, ModalFooter, ModalHeader } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import { api, ask } from "../../../api/client";
import { keys, queryClient, type Model, type Operation } from "../../../api/queries";
import { ErrorAlert } from "../../../components/Failed";
import { Followed } from "../operations";
import { pathOf, useDiff, useOperation, type Revision } from "../parts";
import { DiffTable, replaces } from "./DiffTable";
import { ReasonField } from "../../../components/FormDialog";

export function RollBackDialog({ model, to, close }: { model: Model; to: Revision; close: () => void }) {
  const [reason, setReason] = useState("");
  const id = useId();
  // What is in effect counts, which is not the newest one where that has failed.
  const before = model.status.serving_generation;
  const diff = useDiff(model, before, to.generation);
  const changes = before === to.generation ? [] : diff.data?.changes;
  const asking = useMutation({
    mutationFn: async () =>
      (await ask(
        api.POST("/api/v1/namespaces/{namespace}/models/{name}/rollback", {
          params: { path: pathOf(model) },
          body: { generation: to.generation, reason },
        }),
      )) as Operation,
    onSuccess: () =>
      void queryClient.invalidateQueries({ queryKey: keys.of(model.namespace, model.name, "revisions") }),
  });
  const operation = useOperation(model, asking.data?.id ?? "").data ?? asking.data;

  return (
    <Modal isOpen onClose={close} variant="medium" aria-labelledby={`${id}-title`}>
      <ModalHeader
        title={operation ? `Rolling back to revision ${to.generation}` : `Roll back to revision ${to.generation}?`}
        labelId={`${id}-title`}
        description={
          operation
            ? undefined
            : `Its spec becomes revision ${model.generation + 1}; nothing of the history is lost. Start and stop are not touched.`
        }
      />
      <ModalBody>
        {operation ? (
          <Followed model={model} operation={operation} />
        ) : (
          <Form
            id={`${id}-form`}
            onSubmit={(event) => {
              event.preventDefault();
              asking.mutate();
            }}
          >
            {asking.error && <ErrorAlert title="It was not rolled back" error={asking.error} />}
            {to.failure && (
              <Alert variant="warning" isInline component="p" title="This revision has failed before">
                {to.failure.message}
              </Alert>
            )}
            {diff.error ? (
              <ErrorAlert title="What would change is not known" error={diff.error} />
            ) : (
              <DiffTable changes={changes} label={`What going to revision ${to.generation} changes`} />
            )}
            {changes && <Effect model={model} isReplacing={replaces(changes)} />}
            <ReasonField reason={reason} write={setReason} />
          </Form>
        )}
      </ModalBody>
      <ModalFooter>
        {operation ? (
          <Button onClick={close}>Close</Button>
        ) : (
          <>
            <Button
              type="submit"
              form={`${id}-form`}
              isLoading={asking.isPending}
              isDisabled={asking.isPending || !changes}
            >
              Roll back
            </Button>
            <Button variant="link" onClick={close}>
              Cancel
            </Button>
          </>
        )}
      </ModalFooter>
    </Modal>
  );
}

function Effect({ model, isReplacing }: { model: Model; isReplacing: boolean }) {
  const { state, instances } = model.status;
  if (!isReplacing) return <p>No instance restarts.</p>;
  if (instances.length === 0) return <p>Nothing runs now: it holds from the next start on.</p>;
  return (
    <p>
      {state === "running" ? "Instances are replaced by a rollout; the old ones serve until new ones are ready." : null}
      {state !== "running" && "New instances are launched of it."} Should it fail, the last good revision comes back.
    </p>
  );
}
