/** One input in the form: drawn where it is a picture, else typed. */

import {
  Flex,
  FlexItem,
  FormGroup,
  FormHelperText,
  HelperText,
  HelperTextItem,
  Switch,
  TextArea,
  TextInput,
  ToggleGroup,
  ToggleGroupItem,
} from "@patternfly/react-core";
import { useId, useMemo, useState } from "react";

import { PickOne } from "../../components/Pick";
import type { Tensor } from "../model/sample";
import { isWhole, parseValues, shapeFor, type Input } from "./body";
import { Pad } from "./Pad";
import { brightnessOf, pictureOf, pictureShape, scaleOf, SCALES, usualScale, valuesOf } from "./pictures";

interface Props {
  tensor: Tensor;
  input: Input | undefined;
  set: (input: Input) => void;
  /** A picture is drawn, or the like: now it may be asked. */
  onDone: (isWanted: boolean) => void;
}

// So many values have a field each.
const FIELDS = 16;

export function TensorField({ tensor, input, set, onDone }: Props) {
  const picture = useMemo(() => pictureOf(tensor), [tensor]);
  const [isDrawn, draw] = useState(picture !== null);
  const [scale, setScale] = useState(() => (picture ? usualScale(tensor, picture) : ""));
  const id = useId();
  const data = useMemo(() => input?.data ?? [], [input?.data]);
  const brightness = useMemo(
    () => (picture ? brightnessOf(data, picture, scaleOf(scale)) : new Float32Array()),
    [data, picture, scale],
  );
  const put = (values: unknown[]) => {
    const shape = shapeFor(tensor, values.length);
    if (shape) set({ name: tensor.name, shape, datatype: tensor.datatype, data: values });
  };
  const putPicture = (now: Float32Array, by = scale) => {
    if (!picture) return;
    const values = valuesOf(now, picture, scaleOf(by), tensor.datatype);
    set({ name: tensor.name, shape: pictureShape(tensor), datatype: tensor.datatype, data: values });
  };
  return (
    <FormGroup
      role="group"
      fieldId={`${id}-field`}
      label={
        <>
          {tensor.name}{" "}
          <span className="yard-quiet">
            {tensor.datatype} [{tensor.shape.map((size) => (size > 0 ? size : "any")).join(", ")}]
          </span>
        </>
      }
    >
      {picture && (
        <Flex
          columnGap={{ default: "columnGapMd" }}
          alignItems={{ default: "alignItemsCenter" }}
          className="yard-pad-bar"
        >
          <FlexItem>
            <ToggleGroup aria-label={`How ${tensor.name} is given`} isCompact>
              <ToggleGroupItem text="Draw" isSelected={isDrawn} onChange={() => draw(true)} />
              <ToggleGroupItem text="Numbers" isSelected={!isDrawn} onChange={() => draw(false)} />
            </ToggleGroup>
          </FlexItem>
          {isDrawn && (
            <FlexItem>
              <PickOne
                label="Black to white"
                value={scale}
                choices={SCALES.map(({ value, words }) => ({ value, words: `Black to white: ${words}` }))}
                onPick={(next) => {
                  setScale(next);
                  putPicture(brightness, next);
                }}
              />
            </FlexItem>
          )}
        </Flex>
      )}
      {picture && isDrawn ? (
        <Pad label={tensor.name} picture={picture} brightness={brightness} onDraw={putPicture} onDone={onDone} />
      ) : data.length <= FIELDS && tensor.datatype !== "BYTES" ? (
        <Single tensor={tensor} data={data} put={put} id={`${id}-field`} />
      ) : (
        <Typed tensor={tensor} data={data} put={put} id={`${id}-field`} />
      )}
    </FormGroup>
  );
}

interface FieldProps {
  tensor: Tensor;
  data: unknown[];
  put: (values: unknown[]) => void;
  id: string;
}

/** A field for each value. */
function Single({ tensor, data, put, id }: FieldProps) {
  const change = (index: number, value: unknown) => put(data.map((old, place) => (place === index ? value : old)));
  return (
    <div className="yard-values">
      {data.map((value, index) => {
        const label = data.length === 1 ? tensor.name : `${tensor.name} ${index + 1}`;
        return tensor.datatype === "BOOL" ? (
          <Switch
            key={index}
            id={`${id}-${index}`}
            label={String(index + 1)}
            aria-label={label}
            isChecked={value === true}
            onChange={(_, on) => change(index, on)}
          />
        ) : (
          <NumberField
            key={index}
            id={`${id}-${index}`}
            label={label}
            isWhole={isWhole(tensor.datatype)}
            value={value}
            put={(next) => change(index, next)}
          />
        );
      })}
    </div>
  );
}

interface NumberFieldProps {
  id: string;
  label: string;
  isWhole: boolean;
  value: unknown;
  put: (value: number) => void;
}

function NumberField({ id, label, isWhole, value, put }: NumberFieldProps) {
  // What is typed stands as it is until one goes on: "" and "-" are on the way to a number.
  const [typed, type] = useState<string | null>(null);
  return (
    <TextInput
      id={id}
      type="number"
      step={isWhole ? 1 : "any"}
      aria-label={label}
      value={typed ?? String(value)}
      onChange={(_, text) => {
        type(text);
        if (text !== "" && Number.isFinite(Number(text))) put(Number(text));
      }}
      onBlur={() => type(null)}
    />
  );
}

/** All values as one text. */
function Typed({ tensor, data, put, id }: FieldProps) {
  const written = tensor.datatype === "BYTES" ? data.join("\n") : data.join(", ");
  const [typed, type] = useState<string | null>(null);
  // What is typed stands until it is a request's; then the request is shown.
  const text = typed ?? written;
  const values = parseValues(text, tensor);
  const fits = shapeFor(tensor, values.data.length);
  const fixed = tensor.shape.filter((size) => size > 0).reduce((product, size) => product * size, 1);
  const wrong =
    values.wrong ||
    (fits
      ? ""
      : `It takes ${fixed}${tensor.shape.some((size) => size <= 0) ? " or a multiple of it" : ""}; there are ${values.data.length}.`);
  return (
    <>
      <TextArea
        id={id}
        aria-label={tensor.name}
        value={text}
        rows={tensor.datatype === "BYTES" ? Math.min(8, Math.max(2, data.length)) : 4}
        resizeOrientation="vertical"
        validated={wrong ? "error" : "default"}
        onChange={(_, next) => {
          type(next);
          const read = parseValues(next, tensor);
          if (!read.wrong && shapeFor(tensor, read.data.length)) put(read.data);
        }}
        onBlur={() => !wrong && type(null)}
      />
      <FormHelperText>
        <HelperText>
          <HelperTextItem variant={wrong ? "error" : "default"}>
            {wrong || (tensor.datatype === "BYTES" ? "One text a line." : "Between commas, spaces or lines.")}
          </HelperTextItem>
        </HelperText>
      </FormHelperText>
    </>
  );
}
