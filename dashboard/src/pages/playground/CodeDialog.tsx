/** The very request in the languages of its callers. */

import { Button, Modal, ModalBody, ModalFooter, ModalHeader, Tab, Tabs, TabTitleText } from "@patternfly/react-core";
import { useId, useState } from "react";

import { Snippet } from "../../components/Snippet";
import { LANGUAGES, snippet, type Language } from "../model/snippets";

interface Props {
  path: string;
  body: unknown;
  isPublic: boolean;
  isStream?: boolean;
  close: () => void;
}

export function CodeDialog({ path, body, isPublic, isStream = false, close }: Props) {
  const [language, speak] = useState<Language>("curl");
  const id = useId();
  const url = `${window.location.origin}${path}`;
  return (
    <Modal isOpen onClose={close} variant="large" aria-labelledby={`${id}-title`}>
      <ModalHeader
        title="This request as code"
        labelId={`${id}-title`}
        description={isPublic ? undefined : "MODELYARD_TOKEN is an API key of the role caller or a higher one."}
      />
      <ModalBody>
        <Tabs activeKey={language} onSelect={(_, key) => speak(key as Language)} aria-label="Languages" isSubtab>
          {LANGUAGES.map((one) => (
            <Tab key={one} eventKey={one} title={<TabTitleText>{one}</TabTitleText>}>
              <Snippet label={`the ${one} call`} text={snippet(one, { url, body, isPublic, isStream })} />
            </Tab>
          ))}
        </Tabs>
      </ModalBody>
      <ModalFooter>
        <Button variant="primary" onClick={close}>
          Close
        </Button>
      </ModalFooter>
    </Modal>
  );
}
