/** Stop a model: how, what will be cut off, and, once it is asked, what is left until the release is verified. */

import {
  Button,
  Form,
  FormGroup,
  FormHelperText,
  HelperText,
  HelperTextItem,
  Modal,
  ModalBody,
  ModalFooter,
  ModalHeader,
  Radio,
  TextInput,
} from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import { useInFlight } from "../../api/inFlight";
import { useModel, type Model } from "../../api/queries";
import { ErrorAlert } from "../Failed";
import { stop } from "./commands";
import { Consequences } from "./stopping/Consequences";
import { Override } from "./stopping/Override";
import { useProtection } from "./stopping/protection";
import { Release } from "./stopping/Release";

export function StopDialog({ model, close }: { model: Model; close: () => void }) {
  const [graceful, setGraceful] = useState(true);
  const [seconds, setSeconds] = useState("30");
  const [reason, setReason] = useState("");
  const [isOverriding, override] = useState(false);
  const [isAsked, setAsked] = useState(false);
  const protections = useProtection(model);
  const asking = useMutation({
    mutationFn: (drains: boolean) =>
      stop(model, { graceful: drains, timeout: `${seconds}s`, reason, override: isOverriding }),
    onSuccess: () => setAsked(true),
  });
  const now = useModel(model.namespace, model.name).data ?? model;
  const inFlight = useInFlight(model);
  const id = useId();
  const wrong = graceful && !/^\d{1,5}$/.test(seconds);
  const isProtected = protections.length > 0;
  const blocked = isProtected && (!isOverriding || !reason.trim());
  const isDone = now.status.state === "stopped";

  return (
    <Modal isOpen onClose={close} variant="medium" aria-labelledby={`${id}-title`}>
      <ModalHeader
        title={isAsked ? (isDone ? `${model.name} is stopped` : `Stopping ${model.name}`) : `Stop ${model.name}?`}
        labelId={`${id}-title`}
        description={
          isAsked
            ? undefined
            : "Its set-up, its endpoint's name and its history stay. It starts again only when it is told to, or by its schedule."
        }
      />
      <ModalBody>
        {isAsked ? (
          <>
            {asking.error && <ErrorAlert title="It was not killed" error={asking.error} />}
            <Release model={now} now={inFlight} patience={graceful ? `${seconds} s` : ""} />
          </>
        ) : (
          <Form
            id={`${id}-form`}
            onSubmit={(event) => {
              event.preventDefault();
              if (!wrong && !blocked) asking.mutate(graceful);
            }}
          >
            {asking.error && <ErrorAlert title="It was not stopped" error={asking.error} />}
            {isProtected && (
              <Override id={id} protections={protections} isOverriding={isOverriding} override={override} />
            )}
            <FormGroup role="radiogroup" label="How" fieldId={`${id}-how`}>
              <Radio
                id={`${id}-drain`}
                name={`${id}-how`}
                label="Drain: finish what is in flight, refuse what is new"
                isChecked={graceful}
                onChange={() => setGraceful(true)}
              />
              <Radio
                id={`${id}-force`}
                name={`${id}-how`}
                label="Force: kill at once; requests in flight are cut off"
                isChecked={!graceful}
                onChange={() => setGraceful(false)}
              />
            </FormGroup>
            {graceful && (
              <FormGroup label="Kill after, in seconds" fieldId={`${id}-timeout`}>
                <TextInput
                  id={`${id}-timeout`}
                  inputMode="numeric"
                  value={seconds}
                  validated={wrong ? "error" : "default"}
                  onChange={(_, value) => setSeconds(value)}
                />
                {wrong && (
                  <FormHelperText>
                    <HelperText>
                      <HelperTextItem variant="error">A whole number of seconds.</HelperTextItem>
                    </HelperText>
                  </FormHelperText>
                )}
              </FormGroup>
            )}
            <FormGroup label="Reason" fieldId={`${id}-reason`} isRequired={isOverriding}>
              <TextInput
                id={`${id}-reason`}
                value={reason}
                onChange={(_, value) => setReason(value)}
                placeholder="On record for everyone who asks why"
              />
            </FormGroup>
            <Consequences model={now} now={inFlight} force={!graceful} />
          </Form>
        )}
      </ModalBody>
      <ModalFooter>
        {isAsked ? (
          <>
            <Button variant="primary" onClick={close}>
              Close
            </Button>
            {graceful && !isDone && (
              <Button variant="link" isDanger isLoading={asking.isPending} onClick={() => asking.mutate(false)}>
                Kill now
              </Button>
            )}
          </>
        ) : (
          <>
            <Button
              type="submit"
              form={`${id}-form`}
              variant={graceful ? "primary" : "danger"}
              isLoading={asking.isPending}
              isDisabled={asking.isPending || wrong || blocked}
            >
              {graceful ? "Stop" : "Kill now"}
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
