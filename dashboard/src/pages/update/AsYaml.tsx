/** The whole spec as YAML, for those who would rather write: it becomes the form's as soon as it can be read. */

import { FormGroup, FormHelperText, HelperText, HelperTextItem, TextArea } from "@patternfly/react-core";
import { useState } from "react";
import { parse, stringify, YAMLParseError } from "yaml";

import { asSent, isTree, type Spec } from "../../components/spec/draft";

interface Props {
  spec: Spec;
  onChange: (spec: Spec) => void;
  onUnread: (isUnread: boolean) => void;
}

export function AsYaml({ spec, onChange, onUnread }: Props) {
  const [text, write] = useState(() => stringify(asSent(spec)));
  const [wrong, find] = useState("");
  const change = (typed: string) => {
    write(typed);
    let problem = "";
    try {
      const read: unknown = parse(typed);
      if (isTree(read)) onChange(read as Spec);
      else problem = "A spec is a mapping of fields to values.";
    } catch (error) {
      problem = error instanceof YAMLParseError ? (error.message.split("\n")[0] ?? "") : String(error);
    }
    find(problem);
    onUnread(problem !== "");
  };
  return (
    <FormGroup label="Spec" fieldId="update-yaml">
      <TextArea
        id="update-yaml"
        className="yard-yaml"
        value={text}
        onChange={(_, typed) => change(typed)}
        validated={wrong ? "error" : "default"}
        aria-describedby="update-yaml-help"
        spellCheck={false}
        resizeOrientation="vertical"
        rows={28}
      />
      <FormHelperText>
        <HelperText id="update-yaml-help" isLiveRegion>
          <HelperTextItem variant={wrong ? "error" : "default"}>
            {wrong || "A line that is taken away goes back to what it is when nobody sets it."}
          </HelperTextItem>
        </HelperText>
      </FormHelperText>
    </FormGroup>
  );
}
