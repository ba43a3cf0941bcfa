/** A chart of values over time, in the theme's colours. What it shows can be read in words beside it; the numbers are to
 * be had as a table elsewhere, as nobody can hear a picture. */

import "uplot/dist/uPlot.min.css";

import { useEffect, useMemo, useRef, useState } from "react";
import uPlot from "uplot";

import { useIsDark } from "../app/theme";
import { MARK_WORDS, type Mark } from "./marks";

export interface Line {
  words: string;
  values: (number | null)[];
  color: Color;
  /** Whether the space below it is filled. */
  filled?: boolean;
  dashed?: boolean;
  /** Holds from point to point, as counts of things do. */
  stepped?: boolean;
}

export type Color = keyof typeof COLORS;

const COLORS = {
  main: "--pf-t--global--color--brand--default",
  second: "--pf-t--global--icon--color--status--info--default",
  third: "--pf-t--global--icon--color--status--warning--default",
  danger: "--pf-t--global--icon--color--status--danger--default",
};
const HEIGHT = 170;
const DAY = 86_400;
// Short, so that they fit under a chart.
const HOURS = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } as const;
// From 1 KiB to 512 TiB: bytes are counted in these.
const BINARY = Array.from({ length: 40 }, (_, power) => 2 ** (power + 10));
// Charts with the same key show the same moment.
const SYNC = "yard";

interface ChartProps {
  /** What it is of, for whoever cannot see it. */
  label: string;
  times: number[];
  lines: Line[];
  words: (value: number) => string;
  marks?: Mark[];
  /** Whether the values are bytes. */
  isBinary?: boolean;
  /** Whether the marks' words stand beside their lines. */
  namesMarks?: boolean;
}

export function Chart({ label, times, lines, words, marks = [], isBinary = false, namesMarks = false }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shownMarks = useRef(marks);
  const [at, look] = useState<number | null>(null);
  const isDark = useIsDark();
  shownMarks.current = marks;
  const data = useMemo(() => [times, ...drawn(lines).map((line) => line.values)] as uPlot.AlignedData, [times, lines]);
  // Only what it looks like: with new numbers the same chart goes on, and what one points at stays.
  const looks = JSON.stringify(lines.map(({ values: _, ...rest }) => rest));

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const made = new uPlot(
      options({ width: element.clientWidth, lines, words, element, marks: shownMarks, isBinary, namesMarks, look }),
      data,
      element,
    );
    plot.current = made;
    const resizing = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    resizing.observe(element);
    return () => {
      resizing.disconnect();
      made.destroy();
      plot.current = null;
    };
    // The data are set below.
  }, [looks, words, isBinary, namesMarks, isDark]);
  useEffect(() => plot.current?.setData(data), [data, marks]);

  const shown = at !== null && at < times.length ? at : latest(lines);
  return (
    <figure className="yard-chart" aria-label={label}>
      <figcaption className="yard-legend">
        {lines.map((line) => (
          <span key={line.words}>
            <span
              className={line.dashed ? "yard-key yard-key--dashed" : "yard-key"}
              style={{ borderColor: `var(${COLORS[line.color]})` }}
              aria-hidden
            />
            {line.words} <strong className="yard-number">{valueAt(line, shown, words)}</strong>
          </span>
        ))}
        <span className="yard-quiet yard-number">
          {times[shown] !== undefined && (at === null ? "latest" : moment(times, shown))}
        </span>
      </figcaption>
      <div ref={place} className="yard-plot" aria-hidden />
    </figure>
  );
}

/** The first one comes last, and so lies on top. */
function drawn(lines: Line[]): Line[] {
  return [...lines].reverse();
}

function latest(lines: Line[]): number {
  return Math.max(0, ...lines.map((line) => line.values.length - 1));
}

function valueAt(line: Line, at: number, words: (value: number) => string): string {
  const value = line.values[at];
  return value === null || value === undefined ? "–" : words(value);
}

/** A point's time, no longer than it must be: of several days, with the day. */
function moment(times: number[], at: number): string {
  const time = new Date((times[at] ?? 0) * 1000);
  const isLong = (times.at(-1) ?? 0) - (times[0] ?? 0) > DAY;
  return isLong
    ? time.toLocaleString(undefined, { day: "numeric", month: "short", ...HOURS })
    : time.toLocaleTimeString(undefined, { ...HOURS, second: "2-digit" });
}

interface Look {
  width: number;
  lines: Line[];
  words: (value: number) => string;
  element: HTMLElement;
  marks: { current: Mark[] };
  isBinary: boolean;
  namesMarks: boolean;
  look: (at: number | null) => void;
}

function options({ width, lines, words, element, marks, isBinary, namesMarks, look }: Look): uPlot.Options {
  const style = getComputedStyle(element);
  const token = (name: string) => style.getPropertyValue(name).trim();
  const text = token("--pf-t--global--text--color--subtle");
  const grid = token("--pf-t--global--border--color--default");
  const font = `12px ${style.fontFamily}`;
  const axis: uPlot.Axis = {
    stroke: text,
    font,
    grid: { stroke: grid, width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    padding: [8, 28, 0, 0],
    cursor: {
      sync: { key: SYNC },
      y: false,
      drag: { x: false, y: false },
      points: { size: 7 },
    },
    scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] } },
    axes: [
      { ...axis, size: 26, grid: { show: false }, values: (_, times) => times.map(clock(times)) },
      {
        ...axis,
        size: 64,
        ...(isBinary ? { incrs: BINARY } : {}),
        values: (_, values) => values.map((value) => words(value)),
      },
    ],
    series: [
      {},
      ...drawn(lines).map((line): uPlot.Series => {
        const color = token(COLORS[line.color]);
        return {
          stroke: color,
          width: 1.5,
          ...(line.filled ? { fill: `color-mix(in srgb, ${color} 18%, transparent)` } : {}),
          ...(line.dashed ? { dash: [5, 4] } : {}),
          ...(line.stepped && uPlot.paths.stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
          points: { show: false },
        };
      }),
    ],
    hooks: {
      setCursor: [(self) => look(self.cursor.idx ?? null)],
      draw: [(self) => drawMarks(self, marks.current, { line: text, font, namesMarks })],
    },
  };
}

/** Times of a day as hours, the first of each day as its date. */
function clock(times: number[]) {
  const days = new Set<string>();
  const long = (times.at(-1) ?? 0) - (times[0] ?? 0) > 2 * DAY;
  return (seconds: number): string => {
    const time = new Date(seconds * 1000);
    const day = time.toLocaleDateString(undefined, { day: "numeric", month: "short" });
    if (long || (time.getHours() === 0 && time.getMinutes() === 0 && !days.has(day))) {
      const isNew = !days.has(day);
      days.add(day);
      if (isNew) return day;
    }
    return time.toLocaleTimeString(undefined, HOURS);
  };
}

function drawMarks(
  self: uPlot,
  marks: Mark[],
  { line, font, namesMarks }: { line: string; font: string; namesMarks: boolean },
) {
  const { ctx, bbox } = self;
  const ratio = window.devicePixelRatio || 1;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = line;
  ctx.lineWidth = ratio;
  ctx.setLineDash([3 * ratio, 3 * ratio]);
  ctx.font = font.replace("12px", `${11 * ratio}px`);
  ctx.textBaseline = "top";
  ctx.textAlign = "left";
  let free = -Infinity;
  for (const mark of marks) {
    const x = self.valToPos(mark.at, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const words = MARK_WORDS[mark.kind];
    const wide = ctx.measureText(words).width + 6 * ratio;
    const left = x + wide > bbox.left + bbox.width ? x - wide : x + 4 * ratio;
    // Words that would lie over others are left out: the list beside the charts has all.
    if (namesMarks && left > free) {
      ctx.fillText(words, left, bbox.top + 2 * ratio);
      free = left + wide;
    }
  }
  ctx.restore();
}
