/** A place to draw on: with a mouse or a finger, cell by cell with the keys, or with a picture dropped, pasted or chosen. */

import { Button, Flex, FlexItem, Switch } from "@patternfly/react-core";
import { useEffect, useId, useRef, useState, type KeyboardEvent, type PointerEvent } from "react";

import { Choose, Preview } from "./PadParts";
import type { Picture } from "./pictures";
import { brightnessIn, clear, invert, paint, place } from "./raster";

interface Props {
  label: string;
  picture: Picture;
  /** What the request holds now. */
  brightness: Float32Array;
  onDraw: (brightness: Float32Array) => void;
  /** A stroke has ended, or (`isWanted`) one has said that it is to be asked now. */
  onDone: (isWanted: boolean) => void;
}

// Pixels of the screen.
const SIZE = 280;
// Of a stroke, in cells of the picture: as of a pen on a small digit.
const STROKE = 1.1;

export function Pad({ label, picture, brightness, onDraw, onDone }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const shown = useRef<Float32Array | null>(null);
  const at = useRef<{ x: number; y: number } | null>(null);
  const [isFitted, fit] = useState(picture.channels === 1 && Math.max(picture.height, picture.width) <= 64);
  const [cell, moveTo] = useState<{ row: number; column: number } | null>(null);
  const [said, say] = useState("");
  const id = useId();
  const { height, width } = picture;
  const factor = Math.max(1, Math.round(SIZE / Math.max(height, width)));

  // What came from elsewhere (the JSON, an earlier request) is shown as it is.
  useEffect(() => {
    if (!canvas.current || same(shown.current, brightness)) return;
    shown.current = brightness;
    paint(canvas.current, brightness, picture);
  }, [brightness, picture]);

  const take = (isFittedNow = isFitted) => {
    if (!canvas.current) return;
    shown.current = brightnessIn(canvas.current, picture, isFittedNow);
    onDraw(shown.current);
  };

  const stroke = (event: PointerEvent<HTMLCanvasElement>) => {
    const target = canvas.current;
    const context = target?.getContext("2d");
    if (!target || !context) return;
    const box = target.getBoundingClientRect();
    const to = {
      x: ((event.clientX - box.left) / box.width) * target.width,
      y: ((event.clientY - box.top) / box.height) * target.height,
    };
    const from = at.current ?? to;
    context.strokeStyle = "#fff";
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = Math.max(2, factor * STROKE * Math.max(1, Math.max(height, width) / 16));
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x + 0.01, to.y);
    context.stroke();
    at.current = to;
  };

  const end = () => {
    if (!at.current) return;
    at.current = null;
    take();
    onDone(false);
  };

  const put = async (file: File | undefined) => {
    if (!file || !canvas.current) return;
    try {
      const image = await createImageBitmap(file);
      // Models of digits learn from light ink on dark; a scan is the other way round.
      place(canvas.current, image, (border) => picture.channels === 1 && border > 0.5);
      say(`${file.name} is on the pad`);
      take();
      onDone(false);
    } catch {
      say(`${file.name} is no picture that this browser can read`);
    }
  };

  const wipe = () => {
    if (!canvas.current) return;
    clear(canvas.current);
    say("Cleared");
    take();
  };

  const press = (event: KeyboardEvent) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const now = cell ?? { row: Math.floor(height / 2), column: Math.floor(width / 2) };
    if (step) {
      const [down = 0, right = 0] = step;
      const next = {
        row: Math.min(height - 1, Math.max(0, now.row + down)),
        column: Math.min(width - 1, Math.max(0, now.column + right)),
      };
      moveTo(next);
      say(`Row ${next.row + 1}, column ${next.column + 1}, ${isInked(next) ? "ink" : "empty"}`);
    } else if (event.key === " ") {
      const context = canvas.current?.getContext("2d");
      if (!context) return;
      const on = !isInked(now);
      context.fillStyle = on ? "#fff" : "#000";
      context.fillRect(now.column * factor, now.row * factor, factor, factor);
      moveTo(now);
      say(`Row ${now.row + 1}, column ${now.column + 1}, ${on ? "ink" : "empty"}`);
      take();
    } else if (event.key === "Delete" || event.key === "Backspace") wipe();
    else if (event.key === "Enter") onDone(true);
    else return;
    event.preventDefault();
  };

  const isInked = ({ row, column }: { row: number; column: number }) => {
    const pixel = canvas.current
      ?.getContext("2d", { willReadFrequently: true })
      ?.getImageData(column * factor + Math.floor(factor / 2), row * factor + Math.floor(factor / 2), 1, 1);
    return (pixel?.data[0] ?? 0) > 127;
  };

  return (
    <Flex
      columnGap={{ default: "columnGapMd" }}
      alignItems={{ default: "alignItemsFlexStart" }}
      onPaste={(event) => void put([...event.clipboardData.files][0])}
    >
      <FlexItem>
        <div
          className="yard-pad"
          onDragOver={(event) => event.preventDefault()}
          onDrop={(event) => {
            event.preventDefault();
            void put(event.dataTransfer.files[0]);
          }}
        >
          <canvas
            ref={canvas}
            width={width * factor}
            height={height * factor}
            tabIndex={0}
            role="application"
            aria-roledescription="drawing pad"
            aria-label={`${label}: draw, ${width} by ${height}`}
            aria-describedby={`${id}-keys`}
            onPointerDown={(event) => {
              if (event.button !== 0) return;
              event.currentTarget.setPointerCapture(event.pointerId);
              moveTo(null);
              stroke(event);
            }}
            onPointerMove={(event) => at.current && stroke(event)}
            onPointerUp={end}
            onPointerCancel={end}
            onKeyDown={press}
            onBlur={() => moveTo(null)}
          />
          {cell && (
            <span
              className="yard-pad-cell"
              aria-hidden
              style={{
                left: `${(cell.column / width) * 100}%`,
                top: `${(cell.row / height) * 100}%`,
                width: `${100 / width}%`,
                height: `${100 / height}%`,
              }}
            />
          )}
        </div>
      </FlexItem>
      <FlexItem flex={{ default: "flex_1" }}>
        <Flex direction={{ default: "column" }} rowGap={{ default: "rowGapSm" }}>
          <Preview picture={picture} brightness={brightness} />
          <Flex columnGap={{ default: "columnGapSm" }} rowGap={{ default: "rowGapSm" }}>
            <Button variant="secondary" size="sm" onClick={wipe}>
              Clear
            </Button>
            <Button
              variant="secondary"
              size="sm"
              onClick={() => {
                if (canvas.current) invert(canvas.current);
                take();
                onDone(false);
              }}
            >
              Invert
            </Button>
            <Choose put={(file) => void put(file)} />
          </Flex>
          {picture.channels === 1 && (
            <Switch
              id={`${id}-fit`}
              label="Fill the frame"
              isChecked={isFitted}
              onChange={(_, on) => {
                fit(on);
                take(on);
              }}
            />
          )}
          <p className="yard-quiet" id={`${id}-keys`}>
            Or drop or paste a picture. With the keys: arrows move, Space draws, Delete clears, Enter asks.
          </p>
          <span className="pf-v6-u-screen-reader" role="status">
            {said}
          </span>
        </Flex>
      </FlexItem>
    </Flex>
  );
}

function same(a: Float32Array | null, b: Float32Array): boolean {
  // What the request holds is rounded.
  return a !== null && a.length === b.length && a.every((value, index) => Math.abs(value - (b[index] ?? 0)) < 0.004);
}
