/** Between a canvas and brightness by pixel: pictures are scaled down by the mean of what each pixel covers. */

import type { Picture } from "./pictures";

// Luminance of red, green and blue (ITU-R BT.601).
const LUMINANCE = [0.299, 0.587, 0.114];
// Less is no ink: edges are soft.
const INK = 12;

function plain(width: number, height: number): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("This browser draws on no canvas.");
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  return [canvas, context];
}

/** The brightness that a canvas has, at the picture's size; `isFitted`: what is drawn fills the frame first. */
export function brightnessIn(canvas: HTMLCanvasElement, picture: Picture, isFitted: boolean): Float32Array {
  const { height, width, channels } = picture;
  const source = isFitted ? fitted(canvas, picture) : canvas;
  const context = source.getContext("2d", { willReadFrequently: true });
  const brightness = new Float32Array(height * width * channels);
  if (!context) return brightness;
  const { data } = context.getImageData(0, 0, source.width, source.height);
  const [dx, dy] = [source.width / width, source.height / height];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const sums = [0, 0, 0];
      let count = 0;
      for (let y = Math.floor(row * dy); y < Math.floor((row + 1) * dy); y++) {
        for (let x = Math.floor(column * dx); x < Math.floor((column + 1) * dx); x++) {
          const at = (y * source.width + x) * 4;
          for (let color = 0; color < 3; color++) sums[color]! += data[at + color] ?? 0;
          count++;
        }
      }
      const means = sums.map((sum) => sum / Math.max(1, count) / 255);
      const place = (row * width + column) * channels;
      if (channels === 3) means.forEach((mean, color) => (brightness[place + color] = mean));
      else brightness[place] = means.reduce((sum, mean, color) => sum + mean * LUMINANCE[color]!, 0);
    }
  }
  return brightness;
}

/** What is drawn, in the middle and as large as the frame lets it: so are the pictures that such models learn from. */
function fitted(canvas: HTMLCanvasElement, { height, width }: Picture): HTMLCanvasElement {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const box = context && inkedBox(context.getImageData(0, 0, canvas.width, canvas.height));
  if (!box) return canvas;
  // The digits of MNIST leave four pixels of 28 free on each side; those of 8×8 leave none above and below.
  const margin = Math.min(height, width) >= 16 ? 4 / 28 : 0;
  const room = Math.min(canvas.width, canvas.height) * (1 - 2 * margin);
  const factor = room / Math.max(box.width, box.height);
  const [to, drawing] = plain(canvas.width, canvas.height);
  const [w, h] = [box.width * factor, box.height * factor];
  drawing.drawImage(canvas, box.x, box.y, box.width, box.height, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
  return to;
}

function inkedBox({ data, width, height }: ImageData): { x: number; y: number; width: number; height: number } | null {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if ((data[(y * width + x) * 4] ?? 0) <= INK) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  }
  return right < 0 ? null : { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
}

/** Shows brightness on a canvas of any size, a square for each pixel. */
export function paint(canvas: HTMLCanvasElement, brightness: Float32Array, { height, width, channels }: Picture) {
  const [small, context] = plain(width, height);
  const image = context.createImageData(width, height);
  for (let pixel = 0; pixel < height * width; pixel++) {
    for (let color = 0; color < 3; color++) {
      const value = brightness[pixel * channels + (channels === 3 ? color : 0)] ?? 0;
      image.data[pixel * 4 + color] = Math.round(value * 255);
    }
    image.data[pixel * 4 + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  const target = canvas.getContext("2d", { willReadFrequently: true });
  if (!target) return;
  target.imageSmoothingEnabled = false;
  target.drawImage(small, 0, 0, canvas.width, canvas.height);
}

export function clear(canvas: HTMLCanvasElement) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return;
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
}

/** Puts a picture on the canvas, whole and in the middle; one of ink on paper becomes light on dark, if told so. */
export function place(canvas: HTMLCanvasElement, image: ImageBitmap, isInverted: (border: number) => boolean) {
  const factor = Math.min(canvas.width / image.width, canvas.height / image.height);
  const [w, h] = [Math.max(1, Math.round(image.width * factor)), Math.max(1, Math.round(image.height * factor))];
  const [scaled, context] = plain(w, h);
  context.drawImage(image, 0, 0, w, h);
  if (isInverted(borderOf(context, w, h))) invert(scaled);
  clear(canvas);
  canvas.getContext("2d")?.drawImage(scaled, Math.floor((canvas.width - w) / 2), Math.floor((canvas.height - h) / 2));
}

function borderOf(context: CanvasRenderingContext2D, width: number, height: number): number {
  const { data } = context.getImageData(0, 0, width, height);
  let [sum, count] = [0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x += y === 0 || y === height - 1 ? 1 : Math.max(1, width - 1)) {
      sum += (data[(y * width + x) * 4] ?? 0) / 255;
      count++;
    }
  }
  return sum / Math.max(1, count);
}

export function invert(canvas: HTMLCanvasElement) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return;
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < image.data.length; at++) if (at % 4 !== 3) image.data[at] = 255 - (image.data[at] ?? 0);
  context.putImageData(image, 0, 0);
}
