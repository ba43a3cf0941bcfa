/** Delete a model: what goes with it, and its name typed, because nothing brings it back. */

import {
  Button,
  Content,
  Form,
  FormGroup,
  Modal,
  ModalBody,
  ModalFooter,
  ModalHeader,
  TextInput,
} from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import type { Model } from "../../api/queries";
import { ErrorAlert } from "../Failed";
import { notify } from "../notices";
import { remove } from "./commands";

export function DeleteDialog({ model, close, done }: { model: Model; close: () => void; done?: () => void }) {
  const [typed, type] = useState("");
  const [reason, setReason] = useState("");
  const id = useId();
  const deleting = useMutation({
    mutationFn: () => remove(model, reason),
    onSuccess: () => {
      notify("info", `${model.name} is being deleted`);
      close();
      done?.();
    },
  });
  return (
    <Modal isOpen onClose={close} variant="small" aria-labelledby={`${id}-title`}>
      <ModalHeader title={`Delete ${model.name}?`} titleIconVariant="warning" labelId={`${id}-title`} />
      <ModalBody>
        <Form
          id={`${id}-form`}
          onSubmit={(event) => {
            event.preventDefault();
            if (typed === model.name) deleting.mutate();
          }}
        >
          {deleting.error && <ErrorAlert title="It was not deleted" error={deleting.error} />}
          <Content>
            Its instances end, and its spec, revisions and schedule are gone for good. Versions in the registry and the
            record of who did what stay.
          </Content>
          <FormGroup label={`Type ${model.name} to confirm`} fieldId={`${id}-name`} isRequired>
            <TextInput id={`${id}-name`} value={typed} onChange={(_, value) => type(value)} autoComplete="off" />
          </FormGroup>
          <FormGroup label="Reason" fieldId={`${id}-reason`}>
            <TextInput id={`${id}-reason`} value={reason} onChange={(_, value) => setReason(value)} />
          </FormGroup>
        </Form>
      </ModalBody>
      <ModalFooter>
        <Button
          type="submit"
          form={`${id}-form`}
          variant="danger"
          isDisabled={typed !== model.name || deleting.isPending}
          isLoading={deleting.isPending}
        >
          Delete
        </Button>
        <Button variant="link" onClick={close}>
          Cancel
        </Button>
      </ModalFooter>
    </Modal>
  );
}
