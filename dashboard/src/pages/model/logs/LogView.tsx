/** Lines of a log, of which only those in sight are drawn: thousands stay quick. */

import { useLayoutEffect, useRef, useState } from "react";

import type { Line } from "./lines";

// Pixels a line; the style has the same.
const HEIGHT = 20;
// Drawn above and below what is in sight, so that scrolling shows no gap.
const MARGIN = 20;

interface Props {
  lines: Line[];
  search: string;
  withInstance: boolean;
  /** Whether the newest line stays in sight; scrolling up ends that. */
  sticks: boolean;
  stick: (sticks: boolean) => void;
}

export function LogView({ lines, search, withInstance, sticks, stick }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [top, scroll] = useState(0);
  const [height, measure] = useState(600);
  useLayoutEffect(() => {
    const found = box.current;
    if (!found) return;
    const observer = new ResizeObserver(() => measure(found.clientHeight));
    observer.observe(found);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (sticks && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, sticks, height]);

  const first = Math.max(0, Math.floor(top / HEIGHT) - MARGIN);
  const last = Math.min(lines.length, Math.ceil((top + height) / HEIGHT) + MARGIN);
  return (
    <div
      ref={box}
      className="yard-log"
      role="log"
      aria-live="off"
      aria-label="Log lines"
      tabIndex={0}
      onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
        scroll(scrollTop);
        stick(scrollHeight - scrollTop - clientHeight < HEIGHT * 2);
      }}
    >
      <div style={{ height: lines.length * HEIGHT, position: "relative" }}>
        <div style={{ position: "absolute", insetBlockStart: first * HEIGHT, minInlineSize: "100%" }}>
          {lines.slice(first, last).map((line) => (
            <div key={line.number} className={`yard-log-line yard-log-line--${line.level}`}>
              {withInstance && <span className="yard-log-instance">{line.instance}</span>}
              <Marked text={line.text} search={search.trim()} />
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}

function Marked({ text, search }: { text: string; search: string }) {
  const at = search ? text.toLowerCase().indexOf(search.toLowerCase()) : -1;
  if (at < 0) return <span>{text || " "}</span>;
  return (
    <span>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + search.length)}</mark>
      {text.slice(at + search.length)}
    </span>
  );
}
