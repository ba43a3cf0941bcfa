/** Who may see and call it, what it is called for, and what is said of it. */

import { FormGroup, FormSection } from "@patternfly/react-core";

import { ChoiceField, FlagField, TextField, WordsField } from "./Fields";
import { useForm } from "./form";
import { PairsField } from "./PairsField";

// Features of language models: the others have none of them.
const TEXTUAL = ["imagegen", "videogen", "embedding"];

export function AccessFields() {
  const { type } = useForm().spec;
  return (
    <>
      <FormSection title="Who may call it" titleElement="h3">
        <WordsField
          path="groups"
          label="Groups"
          placeholder="Everyone with a role in the namespace"
          help="Only they see and call it; with commas between."
        />
        <FlagField path="public" label="Public" help="Whoever reaches it may call it, without a key." />
      </FormSection>
      <FormSection title="What it is" titleElement="h3">
        <TextField path="description" label="Description" isLong />
        <ChoiceField
          path="type"
          label="Makes"
          usual=""
          choices={[
            { value: "", words: "Not said" },
            { value: "textgen", words: "Text" },
            { value: "embedding", words: "Embeddings" },
            { value: "imagegen", words: "Images" },
            { value: "videogen", words: "Videos" },
          ]}
        />
        <FormGroup label="Features" role="group" fieldId="spec-features">
          {!TEXTUAL.includes(type ?? "") && (
            <>
              <FlagField path="features.streaming" label="Streams its answers" />
              <FlagField path="features.tool_calls" label="Calls tools" />
              <FlagField path="features.summarization" label="Summarizes" />
            </>
          )}
          <FlagField path="features.image_input" label="Takes images" />
        </FormGroup>
        <PairsField path="labels" label="Labels" one="label" help="By which models are found, selected and ruled." />
      </FormSection>
    </>
  );
}
