/** A dialog with a form: what is asked, why it was refused, and its two buttons. */

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
  TextInput,
  type ModalProps,
} from "@patternfly/react-core";
import { useId, type ReactNode } from "react";

import { ApiError } from "../api/client";
import { ErrorAlert } from "./Failed";

interface Mutation {
  error: unknown;
  isPending: boolean;
}

interface FormDialogProps {
  title: string;
  description?: ReactNode;
  /** What the button says, and what an alert says where it was refused. */
  words: string;
  refused: string;
  mutation: Mutation;
  submit: () => void;
  close: () => void;
  isDisabled?: boolean;
  isDangerous?: boolean;
  /** What leads out of it, where Cancel would be taken for the act itself. */
  back?: string;
  variant?: ModalProps["variant"];
  children: ReactNode;
}

export function FormDialog({
  title,
  description,
  words,
  refused,
  mutation,
  submit,
  close,
  isDisabled = false,
  isDangerous = false,
  back = "Cancel",
  variant = "small",
  children,
}: FormDialogProps) {
  const id = useId();
  return (
    <Modal isOpen onClose={close} variant={variant} aria-labelledby={`${id}-title`}>
      <ModalHeader
        title={title}
        labelId={`${id}-title`}
        description={description}
        {...(isDangerous ? { titleIconVariant: "warning" as const } : {})}
      />
      <ModalBody>
        <Form
          id={`${id}-form`}
          onSubmit={(event) => {
            event.preventDefault();
            if (!isDisabled && !mutation.isPending) submit();
          }}
        >
          {children}
          {mutation.error !== null && <ErrorAlert title={refused} error={mutation.error} />}
        </Form>
      </ModalBody>
      <ModalFooter>
        <Button
          type="submit"
          form={`${id}-form`}
          variant={isDangerous ? "danger" : "primary"}
          isDisabled={isDisabled || mutation.isPending}
          isLoading={mutation.isPending}
        >
          {words}
        </Button>
        <Button variant="link" onClick={close}>
          {back}
        </Button>
      </ModalFooter>
    </Modal>
  );
}

interface FieldProps {
  label: string;
  id: string;
  help?: ReactNode;
  /** What is wrong with it. */
  wrong?: string | undefined;
  isRequired?: boolean;
  role?: "group" | "radiogroup";
  children: ReactNode;
}

export function Field({ label, id, help, wrong, isRequired = false, role, children }: FieldProps) {
  return (
    <FormGroup label={label} fieldId={id} isRequired={isRequired} {...(role ? { role } : {})}>
      {children}
      {(wrong || help) && (
        <FormHelperText>
          <HelperText id={`${id}-help`}>
            <HelperTextItem variant={wrong ? "error" : "default"}>{wrong ?? help}</HelperTextItem>
          </HelperText>
        </FormHelperText>
      )}
    </FormGroup>
  );
}

/** Why it is done, for the record. */
export function ReasonField({ reason, write }: { reason: string; write: (reason: string) => void }) {
  const id = useId();
  return (
    <Field label="Reason" id={id}>
      <TextInput
        id={id}
        value={reason}
        onChange={(_, value) => write(value)}
        placeholder="On record for everyone who asks why"
      />
    </Field>
  );
}

/** What the server said of the field at `path`, or below it. */
export function wrongWith(error: unknown, path: string): string | undefined {
  if (!(error instanceof ApiError)) return undefined;
  return error.fields.find((field) => field.path === path || field.path.startsWith(`${path}.`))?.message;
}
