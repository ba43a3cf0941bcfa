/** Which inputs are pictures, and how the pixels of one become their values. */

import type { Tensor } from "../model/sample";
import { isWhole } from "./body";

export interface Picture {
  height: number;
  width: number;
  channels: 1 | 3;
  /** Where the channels are: before the rows (as PyTorch has them) or within each pixel (as TensorFlow has them). */
  layout: "first" | "last";
  /** It is a guess by the number of values alone. */
  isGuess: boolean;
}

// Of a picture whose size is free: what most models of photographs were trained on.
const FREE = 224;
const [SMALLEST, LARGEST] = [8, 1024];
// Flattened pictures are small; larger squares are more likely something else.
const LARGEST_FLAT = 64;

/** What picture an input takes, if it looks like one. */
export function pictureOf({ shape, datatype }: Tensor): Picture | null {
  if (datatype === "BYTES" || datatype === "BOOL" || shape.length === 0) return null;
  // The first is how many at once.
  const [first = 1, ...rest] = shape;
  const sizes = shape.length > 1 && first <= 1 ? rest : shape;
  return asPlanes(sizes) ?? asRow(shape.length > 1 ? sizes : shape);
}

function asPlanes(sizes: number[]): Picture | null {
  const [a = 0, b = 0, c = 0] = sizes;
  const isGuess = false;
  // Of two sizes that differ the one is more likely time, or rows.
  if (sizes.length === 2 && isSide(a) && a === b) {
    return { height: a, width: b, channels: 1, layout: "first", isGuess };
  }
  if (sizes.length !== 3) return null;
  if ((a === 1 || a === 3) && isSideOrFree(b) && isSideOrFree(c)) {
    return { height: sideOf(b), width: sideOf(c), channels: a, layout: "first", isGuess };
  }
  if ((c === 1 || c === 3) && isSideOrFree(a) && isSideOrFree(b)) {
    return { height: sideOf(a), width: sideOf(b), channels: c, layout: "last", isGuess };
  }
  return null;
}

function asRow(sizes: number[]): Picture | null {
  const side = Math.sqrt(sizes[0] ?? 0);
  if (sizes.length !== 1 || !Number.isInteger(side) || side < SMALLEST || side > LARGEST_FLAT) return null;
  return { height: side, width: side, channels: 1, layout: "first", isGuess: true };
}

/** The shape of a request of one picture. */
export function pictureShape({ shape }: Tensor): number[] {
  return shape.map((size, index) => (size > 0 ? size : index === 0 ? 1 : FREE));
}

const isSide = (size: number) => size >= SMALLEST && size <= LARGEST;
const isSideOrFree = (size: number) => size <= 0 || isSide(size);
const sideOf = (size: number) => (size > 0 ? size : FREE);

export interface Scale {
  value: string;
  words: string;
  /** From brightness, 0 to 1, to what the model takes; and back. */
  to: (brightness: number, channel: number) => number;
  from: (value: number, channel: number) => number;
}

const upTo = (most: number): Scale => ({
  value: `0..${most}`,
  words: `0 to ${most}`,
  to: (brightness) => brightness * most,
  from: (value) => value / most,
});
// Of the photographs of ImageNet, by channel: what torchvision's models take.
const MEAN = [0.485, 0.456, 0.406];
const DEVIATION = [0.229, 0.224, 0.225];

export const SCALES: Scale[] = [
  upTo(1),
  upTo(16),
  upTo(255),
  { value: "-1..1", words: "−1 to 1", to: (brightness) => brightness * 2 - 1, from: (value) => (value + 1) / 2 },
  {
    value: "imagenet",
    words: "As ImageNet: mean 0, deviation 1",
    to: (brightness, channel) => (brightness - (MEAN[channel] ?? 0)) / (DEVIATION[channel] ?? 1),
    from: (value, channel) => value * (DEVIATION[channel] ?? 1) + (MEAN[channel] ?? 0),
  },
];

export const scaleOf = (value: string): Scale => SCALES.find((scale) => scale.value === value) ?? upTo(1);

/** How bright white is where nobody has said so: of 8×8 pictures as in scikit-learn's digits, of bytes as in files. */
export function usualScale(tensor: Tensor, picture: Picture): string {
  if (isWhole(tensor.datatype)) return "0..255";
  return picture.isGuess && picture.height === 8 ? "0..16" : "0..1";
}

/** Brightness by pixel and channel, rows first, as the input has it. */
export function valuesOf(brightness: Float32Array, picture: Picture, scale: Scale, datatype: string): number[] {
  const { height, width, channels, layout } = picture;
  const values = new Array<number>(height * width * channels);
  for (let pixel = 0; pixel < height * width; pixel++) {
    for (let channel = 0; channel < channels; channel++) {
      const value = scale.to(brightness[pixel * channels + channel] ?? 0, channel);
      const place = layout === "last" ? pixel * channels + channel : channel * height * width + pixel;
      // Three decimals are more than a screen shows, and JSON stays short.
      values[place] = isWhole(datatype) ? Math.round(value) : Math.round(value * 1000) / 1000;
    }
  }
  return values;
}

/** The other way round, to show what a request holds. */
export function brightnessOf(data: unknown[], picture: Picture, scale: Scale): Float32Array {
  const { height, width, channels, layout } = picture;
  const brightness = new Float32Array(height * width * channels);
  for (let pixel = 0; pixel < height * width; pixel++) {
    for (let channel = 0; channel < channels; channel++) {
      const place = layout === "last" ? pixel * channels + channel : channel * height * width + pixel;
      const value = scale.from(Number(data[place] ?? 0), channel);
      brightness[pixel * channels + channel] = Math.min(1, Math.max(0, value));
    }
  }
  return brightness;
}
