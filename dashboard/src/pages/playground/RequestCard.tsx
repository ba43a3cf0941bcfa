/** The request: a form by the model's signature, and the JSON that it makes. */

import {
  Alert,
  Form,
  FormGroup,
  FormHelperText,
  Grid,
  GridItem,
  HelperText,
  HelperTextItem,
  TextArea,
} from "@patternfly/react-core";
import { useId } from "react";

import { many } from "../../components/quantities";
import type { Tensor } from "../model/sample";
import { valuesIn } from "./body";
import { TensorField } from "./TensorField";
import type { Request } from "./useRequest";

interface Props {
  inputs: Tensor[] | undefined;
  request: Request;
  /** Something was drawn to its end. */
  onDone: (isWanted: boolean) => void;
  isWide: boolean;
}

export function RequestForm({ inputs, request, onDone, isWide }: Props) {
  const id = useId();
  return (
    <Grid hasGutter>
      <GridItem span={12} xl={isWide ? 6 : 12}>
        <Form onSubmit={(event) => event.preventDefault()}>
          {request.wrong && (
            <Alert component="h3" isInline variant="warning" title="The form waits for the JSON">
              It shows the last request that could be read.
            </Alert>
          )}
          {inputs?.map((tensor) => (
            <TensorField
              key={`${tensor.name}${tensor.datatype}${tensor.shape.join()}`}
              tensor={tensor}
              input={request.body.inputs.find(({ name }) => name === tensor.name)}
              set={request.setInput}
              onDone={onDone}
            />
          ))}
          {inputs?.length === 0 && (
            <Alert
              component="h3"
              isInline
              variant="info"
              title="The model does not say what it takes. Write the request as JSON."
            />
          )}
        </Form>
      </GridItem>
      <GridItem span={12} xl={isWide ? 6 : 12}>
        <Form onSubmit={(event) => event.preventDefault()}>
          <FormGroup label="JSON" fieldId={`${id}-json`}>
            {request.isTooLong ? (
              <p className="yard-quiet">
                {many(valuesIn(request.body), "value")}: too many to be edited here. They are in the request, and in
                View code.
              </p>
            ) : (
              <>
                <TextArea
                  id={`${id}-json`}
                  className="yard-json"
                  value={request.text}
                  rows={isWide ? 14 : 9}
                  resizeOrientation="vertical"
                  spellCheck={false}
                  validated={request.wrong ? "error" : "default"}
                  onChange={(_, text) => request.setText(text)}
                />
                {request.wrong && (
                  <FormHelperText>
                    <HelperText>
                      <HelperTextItem variant="error">{request.wrong}</HelperTextItem>
                    </HelperText>
                  </FormHelperText>
                )}
              </>
            )}
          </FormGroup>
        </Form>
      </GridItem>
    </Grid>
  );
}
