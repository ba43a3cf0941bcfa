/** A new key's secret, shown this once, and how it is used. */

import {
  Alert,
  Button,
  ClipboardCopy,
  Form,
  FormGroup,
  Modal,
  ModalBody,
  ModalFooter,
  ModalHeader,
} from "@patternfly/react-core";
import { useId } from "react";

import { Ago } from "../../components/Ago";
import { Snippet } from "../../components/Snippet";
import type { NewApiKey } from "./calls";

export function SecretDialog({ made, close }: { made: NewApiKey; close: () => void }) {
  const id = useId();
  const call = `curl ${window.location.origin}/api/v1/me \\\n  --header "Authorization: Bearer $MODELYARD_TOKEN"`;
  return (
    // No way out by a click beside it: what is lost is lost.
    <Modal isOpen onClose={close} variant="medium" aria-labelledby={`${id}-title`} onEscapePress={() => undefined}>
      <ModalHeader title={`The key ${made.name}`} labelId={`${id}-title`} />
      <ModalBody>
        <Form onSubmit={(event) => event.preventDefault()}>
          <Alert
            variant="warning"
            isInline
            component="p"
            title="Copy it now: it is shown this once, and nobody can tell it again."
          />
          <FormGroup label="Secret" fieldId={`${id}-secret`}>
            <ClipboardCopy
              isReadOnly
              isCode
              hoverTip="Copy"
              clickTip="Copied"
              textAriaLabel="Secret"
              toggleAriaLabel="Show the secret"
              copyAriaLabel="Copy the secret"
            >
              {made.secret}
            </ClipboardCopy>
          </FormGroup>
          <FormGroup label="Try it, with the key in MODELYARD_TOKEN" fieldId={`${id}-curl`} role="group">
            <Snippet label="the curl call" text={call} />
          </FormGroup>
          {made.previous_until && Date.parse(made.previous_until) > Date.now() && (
            <p>
              The secret before ends <Ago at={made.previous_until} />: {new Date(made.previous_until).toLocaleString()}.
            </p>
          )}
        </Form>
      </ModalBody>
      <ModalFooter>
        <Button variant="primary" onClick={close}>
          I have it
        </Button>
      </ModalFooter>
    </Modal>
  );
}
