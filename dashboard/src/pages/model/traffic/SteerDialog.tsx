/** One command on a rollout: what comes of it, and why it is given. */

import {
  Button,
  Content,
  Form,
  FormGroup,
  FormHelperText,
  HelperText,
  HelperTextItem,
  Modal,
  ModalBody,
  ModalFooter,
  ModalHeader,
  TextInput,
} from "@patternfly/react-core";
import { useId, useState } from "react";

import type { Schemas } from "../../../api/client";
import type { Model } from "../../../api/queries";
import { ErrorAlert } from "../../../components/Failed";
import { STEERING, useSteer, type Steer } from "./steering";

interface Props {
  model: Model;
  rollout: Schemas["RolloutStatus"];
  steer: Steer;
  close: () => void;
}

export function SteerDialog({ model, rollout, steer, close }: Props) {
  const { words, title, effect, isDanger } = STEERING[steer];
  const [reason, setReason] = useState("");
  const [percent, setPercent] = useState(String(rollout.canary?.next_percent ?? rollout.canary?.wanted ?? 50));
  const id = useId();
  const steering = useSteer(model, close);
  const wrong = steer === "percent" && !/^[1-9]\d?$/.test(percent);
  return (
    <Modal isOpen onClose={close} variant="small" aria-labelledby={`${id}-title`}>
      <ModalHeader
        title={title}
        labelId={`${id}-title`}
        {...(isDanger ? { titleIconVariant: "warning" as const } : {})}
      />
      <ModalBody>
        <Form
          id={`${id}-form`}
          onSubmit={(event) => {
            event.preventDefault();
            if (!wrong) steering.mutate({ steer, reason, percent: Number(percent) });
          }}
        >
          {steering.error && <ErrorAlert title="It was not done" error={steering.error} />}
          <Content>{effect(model, rollout)}</Content>
          {steer === "percent" && (
            <FormGroup label="Per cent of the requests" fieldId={`${id}-percent`} isRequired>
              <TextInput
                id={`${id}-percent`}
                inputMode="numeric"
                value={percent}
                validated={wrong ? "error" : "default"}
                onChange={(_, value) => setPercent(value)}
              />
              {wrong && (
                <FormHelperText>
                  <HelperText>
                    <HelperTextItem variant="error">
                      From 1 to 99. Promote it to send all, abort it to send none.
                    </HelperTextItem>
                  </HelperText>
                </FormHelperText>
              )}
            </FormGroup>
          )}
          <FormGroup label="Reason" fieldId={`${id}-reason`}>
            <TextInput
              id={`${id}-reason`}
              value={reason}
              onChange={(_, value) => setReason(value)}
              placeholder="On record for everyone who asks why"
            />
          </FormGroup>
        </Form>
      </ModalBody>
      <ModalFooter>
        <Button
          type="submit"
          form={`${id}-form`}
          variant={isDanger ? "danger" : "primary"}
          isDisabled={wrong || steering.isPending}
          isLoading={steering.isPending}
        >
          {words}
        </Button>
        <Button variant="link" onClick={close}>
          {steer === "cancel" ? "Back" : "Cancel"}
        </Button>
      </ModalFooter>
    </Modal>
  );
}
