/** Add, edit and delete a webhook; and its secret, once. */

import {
  Alert as Message,
  Button,
  Checkbox,
  ClipboardCopy,
  Content,
  FormGroup,
  Modal,
  ModalBody,
  ModalFooter,
  ModalHeader,
  Radio,
  TextInput,
} from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import type { Schemas } from "../../api/client";
import { Field, FormDialog, wrongWith } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { PickSeveral } from "../../components/Pick";
import { parts } from "../access/roles";
import {
  askWebhooksAgain,
  deleteWebhook,
  putWebhook,
  type AlertKind,
  type Severity,
  type Webhook,
  type WebhookSet,
} from "./calls";
import { KIND_CHOICES, SEVERITIES, severityWords } from "./kinds";

interface Props {
  scope: string;
  close: () => void;
}

const URL_RULE = /^https?:\/\/[^\s]+$/;

export function WebhookDialog({
  scope,
  hook,
  close,
  done,
}: Props & { hook: Webhook | null; done: (hook: WebhookSet) => void }) {
  const [name, setName] = useState(hook?.name ?? "");
  const [url, setUrl] = useState("");
  const [format, setFormat] = useState<Schemas["WebhookFormat"]>(hook?.format ?? "modelyard");
  const [severities, setSeverities] = useState<string[]>(hook?.severities ?? []);
  const [kinds, setKinds] = useState<string[]>(hook?.kinds ?? []);
  const [namespaces, setNamespaces] = useState(hook?.namespaces.join(", ") ?? "");
  const [enabled, setEnabled] = useState(hook?.enabled ?? true);
  const [rotate, setRotate] = useState(false);
  const id = useId();
  const setting = useMutation({
    mutationFn: () =>
      putWebhook(
        scope,
        name,
        {
          url: url.trim() || null,
          format,
          severities: severities as Severity[],
          kinds: kinds as AlertKind[],
          namespaces: parts(namespaces),
          enabled,
          rotate_secret: rotate,
        },
        hook?.version,
      ),
    onSuccess: (set) => {
      void askWebhooksAgain(scope);
      notify("success", `The webhook ${set.name} is set`);
      done(set);
    },
  });
  const badUrl = url !== "" && !URL_RULE.test(url.trim());
  return (
    <FormDialog
      title={hook ? `Edit ${hook.name}` : "Add a webhook"}
      words="Save"
      refused="It was not set"
      mutation={setting}
      submit={() => setting.mutate()}
      close={close}
      isDisabled={!name || badUrl || (!hook && !url)}
      variant="medium"
    >
      {!hook && (
        <Field label="Name" id={`${id}-name`} isRequired wrong={wrongWith(setting.error, "name")}>
          <TextInput
            id={`${id}-name`}
            value={name}
            onChange={(_, value) => setName(value)}
            placeholder="on-call"
            autoComplete="off"
          />
        </Field>
      )}
      <Field
        label="URL"
        id={`${id}-url`}
        isRequired={!hook}
        wrong={wrongWith(setting.error, "url") ?? (badUrl ? "It begins with https:// or http://." : undefined)}
        help={
          hook
            ? `Now ${hook.url}. Left empty: it stays.`
            : "Kept sealed, and shown without its path: whoever knows it may be able to use it."
        }
      >
        <TextInput
          id={`${id}-url`}
          type="url"
          value={url}
          onChange={(_, value) => setUrl(value)}
          placeholder="https://hooks.example/…"
          autoComplete="off"
          validated={badUrl ? "error" : "default"}
        />
      </Field>
      <Field label="Format" id={`${id}-format`} role="radiogroup">
        <Radio
          id={`${id}-modelyard`}
          name={`${id}-format`}
          label="Modelyard: one alert a request, signed"
          isChecked={format === "modelyard"}
          onChange={() => setFormat("modelyard")}
        />
        <Radio
          id={`${id}-alertmanager`}
          name={`${id}-format`}
          label="Alertmanager: what its /api/v2/alerts takes"
          isChecked={format === "alertmanager"}
          onChange={() => setFormat("alertmanager")}
        />
      </Field>
      <Field label="Told of" id={`${id}-told`} role="group" help="None picked: of all.">
        <PickSeveral
          label="Severities"
          values={severities}
          onPick={setSeverities}
          choices={SEVERITIES.map((value) => ({ value, words: severityWords(value) }))}
        />{" "}
        <PickSeveral label="Kinds" values={kinds} onPick={setKinds} choices={KIND_CHOICES} />
      </Field>
      {!scope && (
        <Field
          label="Namespaces"
          id={`${id}-namespaces`}
          wrong={wrongWith(setting.error, "namespaces")}
          help="Left empty: all."
        >
          <TextInput
            id={`${id}-namespaces`}
            value={namespaces}
            onChange={(_, value) => setNamespaces(value)}
            placeholder="vision, speech"
          />
        </Field>
      )}
      <FormGroup role="group" label="How it is used" fieldId={`${id}-on`}>
        <Checkbox
          id={`${id}-on`}
          label="Alerts are sent to it"
          isChecked={enabled}
          onChange={(_, on) => setEnabled(on)}
        />
        {hook && (
          <Checkbox
            id={`${id}-rotate`}
            label="Sign by a new secret"
            description="For a day the old one signs as well."
            isChecked={rotate}
            onChange={(_, on) => setRotate(on)}
          />
        )}
      </FormGroup>
    </FormDialog>
  );
}

export function DeleteWebhookDialog({ scope, hook, close }: Props & { hook: Webhook }) {
  const deleting = useMutation({
    mutationFn: () => deleteWebhook(scope, hook),
    onSuccess: () => {
      notify("success", `The webhook ${hook.name} is gone`);
      void askWebhooksAgain(scope);
      close();
    },
  });
  return (
    <FormDialog
      title={`Delete the webhook ${hook.name}?`}
      words="Delete"
      refused="It was not deleted"
      isDangerous
      mutation={deleting}
      submit={() => deleting.mutate()}
      close={close}
    >
      <Content>Nobody is told by it any more, also of what was still to be sent to it.</Content>
    </FormDialog>
  );
}

export function SigningSecretDialog({ hook, close }: { hook: WebhookSet; close: () => void }) {
  const id = useId();
  return (
    <Modal isOpen onClose={close} variant="small" aria-labelledby={`${id}-title`} onEscapePress={() => undefined}>
      <ModalHeader title={`The secret of ${hook.name}`} labelId={`${id}-title`} />
      <ModalBody>
        <Message variant="warning" isInline component="p" title="Copy it now: it is shown this once." />
        <Content className="yard-gap">
          The receiver checks <code>X-Modelyard-Signature</code> by it, so that it believes nobody else.
        </Content>
        <ClipboardCopy
          isReadOnly
          isCode
          hoverTip="Copy"
          clickTip="Copied"
          textAriaLabel="Secret"
          copyAriaLabel="Copy the secret"
        >
          {hook.secret ?? ""}
        </ClipboardCopy>
      </ModalBody>
      <ModalFooter>
        <Button variant="primary" onClick={close}>
          I have it
        </Button>
      </ModalFooter>
    </Modal>
  );
}
