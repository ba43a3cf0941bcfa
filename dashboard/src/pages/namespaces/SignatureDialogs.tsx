/** Require signatures or not, trust a key, revoke it. */

import { Alert, Content, Radio, TextArea, TextInput } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import type { Schemas } from "../../api/client";
import { Field, FormDialog, wrongWith, ReasonField } from "../../components/FormDialog";
import { notify } from "../../components/notices";
import { many } from "../../components/quantities";
import { askSigningAgain, requireSignature, revokeTrust, trustKey } from "./calls";

interface Props {
  namespace: string;
  close: () => void;
}

export function RequireDialog({ namespace, require, trusted, close }: Props & { require: boolean; trusted: number }) {
  const [reason, setReason] = useState("");
  const setting = useMutation({
    mutationFn: () => requireSignature(namespace, require, reason),
    onSuccess: ({ not_startable: stuck }) => {
      const words = require ? "serves signed versions only" : "serves unsigned versions, too";
      const body = stuck.length ? `Not startable now: ${stuck.join(", ")}.` : undefined;
      notify(stuck.length ? "warning" : "success", `Namespace ${namespace} ${words}`, body);
      void askSigningAgain(namespace);
      close();
    },
  });
  return (
    <FormDialog
      title={require ? "Serve signed versions only?" : "Serve unsigned versions, too?"}
      words={require ? "Require signatures" : "Require none"}
      refused="It was not changed"
      mutation={setting}
      submit={() => setting.mutate()}
      close={close}
    >
      <Content>
        {require
          ? "Models are launched from versions of registered models that a trusted key has signed, and from nothing else: no files, no commands. What runs goes on, but is not started again without."
          : "Whoever may deploy here may launch what nobody has signed."}
      </Content>
      {require && trusted === 0 && (
        <Alert variant="warning" isInline component="p" title="No key is trusted yet: nothing could be started." />
      )}
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}

export function TrustKeyDialog({ namespace, close }: Props) {
  const [name, setName] = useState("");
  const [kind, setKind] = useState<Schemas["SignatureKind"]>("openssf");
  const [pem, setPem] = useState("");
  const [reason, setReason] = useState("");
  const id = useId();
  const trusting = useMutation({
    mutationFn: () => trustKey(namespace, name, { kind, public_key: kind === "openssf" ? pem : "", reason }),
    onSuccess: () => {
      notify("success", `The key ${name} is trusted in ${namespace}`);
      void askSigningAgain(namespace);
      close();
    },
  });
  return (
    <FormDialog
      title="Trust a key"
      words="Trust it"
      refused="It is not trusted"
      mutation={trusting}
      submit={() => trusting.mutate()}
      close={close}
      isDisabled={!name || (kind === "openssf" && !pem.trim())}
      variant="medium"
    >
      <Field label="Name" id={`${id}-name`} isRequired wrong={wrongWith(trusting.error, "name")}>
        <TextInput
          id={`${id}-name`}
          value={name}
          onChange={(_, value) => setName(value)}
          placeholder="release"
          autoComplete="off"
        />
      </Field>
      <Field label="Kind" id={`${id}-kind`} role="radiogroup">
        <Radio
          id={`${id}-openssf`}
          name={`${id}-kind`}
          label="OpenSSF model signing: a public key"
          isChecked={kind === "openssf"}
          onChange={() => setKind("openssf")}
        />
        <Radio
          id={`${id}-hmac`}
          name={`${id}-kind`}
          label="HMAC: a secret that is in the folder signing of the server's home already"
          isChecked={kind === "hmac"}
          onChange={() => setKind("hmac")}
        />
      </Field>
      {kind === "openssf" && (
        <Field
          label="Public key"
          id={`${id}-pem`}
          isRequired
          wrong={wrongWith(trusting.error, "public_key")}
          help="In PEM: ECDSA on P-256, P-384 or P-521. Never the private key."
        >
          <TextArea
            id={`${id}-pem`}
            value={pem}
            onChange={(_, value) => setPem(value)}
            rows={5}
            placeholder="-----BEGIN PUBLIC KEY-----"
            resizeOrientation="vertical"
          />
        </Field>
      )}
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}

export function RevokeTrustDialog({
  namespace,
  name,
  isRequired,
  close,
}: Props & { name: string; isRequired: boolean }) {
  const [reason, setReason] = useState("");
  const revoking = useMutation({
    mutationFn: () => revokeTrust(namespace, name, reason),
    onSuccess: ({ not_startable: stuck }) => {
      const body = stuck.length ? `${many(stuck.length, "model")} not startable now: ${stuck.join(", ")}.` : undefined;
      notify(stuck.length ? "warning" : "success", `The key ${name} is revoked`, body);
      void askSigningAgain(namespace);
      close();
    },
  });
  return (
    <FormDialog
      title={`Revoke the key ${name}?`}
      words="Revoke"
      refused="It was not revoked"
      isDangerous
      mutation={revoking}
      submit={() => revoking.mutate()}
      close={close}
    >
      <Content>
        For good. All that it has signed counts as unsigned at once.
        {isRequired && " Signatures are required here: models of those versions run on, but do not start again."}
      </Content>
      <ReasonField reason={reason} write={setReason} />
    </FormDialog>
  );
}
