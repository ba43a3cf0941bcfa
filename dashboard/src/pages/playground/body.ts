/** A request's body: made blank from a model's signature, written as JSON that people read, and read again. */

import { emptyData, sizesOf, type Tensor } from "../model/sample";

export interface Input {
  name: string;
  shape: number[];
  datatype: string;
  data: unknown[];
}

/** An inference request of V2; what a caller adds beside the inputs is kept. */
export interface Body {
  inputs: Input[];
  [more: string]: unknown;
}

// Of no signature: one number.
const UNKNOWN: Tensor[] = [{ name: "input", datatype: "FP32", shape: [1, 1] }];

export function blank(inputs: Tensor[] | undefined): Body {
  return {
    inputs: (inputs?.length ? inputs : UNKNOWN).map((tensor) => ({
      name: tensor.name,
      shape: sizesOf(tensor),
      datatype: tensor.datatype,
      data: emptyData(tensor),
    })),
  };
}

/** How many values a body holds. */
export function valuesIn(body: Body): number {
  return body.inputs.reduce((sum, { data }) => sum + data.length, 0);
}

/** With a line for each field, and arrays of plain values on one line. */
export function write(value: unknown, indent = ""): string {
  if (Array.isArray(value)) {
    if (value.every((item) => typeof item !== "object" || item === null)) {
      return `[${value.map((item) => JSON.stringify(item)).join(", ")}]`;
    }
    return `[\n${value.map((item) => `${indent}  ${write(item, `${indent}  `)}`).join(",\n")}\n${indent}]`;
  }
  if (typeof value === "object" && value !== null) {
    const fields = Object.entries(value).map(
      ([key, item]) => `${indent}  ${JSON.stringify(key)}: ${write(item, `${indent}  `)}`,
    );
    return fields.length === 0 ? "{}" : `{\n${fields.join(",\n")}\n${indent}}`;
  }
  return JSON.stringify(value) ?? "null";
}

/** The body that a text is, or what is wrong with it. */
export function read(text: string): { body: Body; wrong: "" } | { body: null; wrong: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { body: null, wrong: error instanceof Error ? error.message : String(error) };
  }
  const inputs = typeof value === "object" && value !== null ? (value as Partial<Body>).inputs : undefined;
  if (!Array.isArray(inputs)) return { body: null, wrong: 'A request is an object with a list "inputs".' };
  const odd = inputs.findIndex(
    (input) => typeof input !== "object" || input === null || !Array.isArray(input.data) || !Array.isArray(input.shape),
  );
  if (odd >= 0) return { body: null, wrong: `inputs[${odd}] needs a "shape" and "data", both lists.` };
  return { body: value as Body, wrong: "" };
}

/** A shape that fits so many values: what is free in the signature takes them; null where none fits. */
export function shapeFor({ shape }: Tensor, count: number): number[] | null {
  const fixed = shape.filter((size) => size > 0).reduce((product, size) => product * size, 1);
  if (count === 0 || count % fixed !== 0) return null;
  const free = shape.findLastIndex((size) => size <= 0);
  if (free < 0) return count === fixed ? [...shape] : null;
  return shape.map((size, index) => (size > 0 ? size : index === free ? count / fixed : 1));
}

/** Values as one types them, between commas, spaces or lines; a text's lines are one value each. */
export function parseValues(text: string, tensor: Tensor): { data: unknown[]; wrong: string } {
  if (tensor.datatype === "BYTES") {
    const isOne = tensor.shape.every((size) => size === 1);
    return { data: isOne ? [text] : text.split("\n"), wrong: "" };
  }
  const words = text.split(/[\s,;]+/).filter(Boolean);
  const data = words.map((word) => (tensor.datatype === "BOOL" ? truth(word) : Number(word)));
  const odd = data.findIndex((value) => value === null || Number.isNaN(value));
  if (odd >= 0) return { data, wrong: `${words[odd]} is no ${tensor.datatype}.` };
  if (isWhole(tensor.datatype) && data.some((value) => !Number.isInteger(value))) {
    return { data, wrong: "Whole numbers only." };
  }
  return { data, wrong: "" };
}

function truth(word: string): boolean | null {
  return /^(true|1)$/i.test(word) ? true : /^(false|0)$/i.test(word) ? false : null;
}

export function isWhole(datatype: string): boolean {
  return /^U?INT\d+$/.test(datatype);
}
