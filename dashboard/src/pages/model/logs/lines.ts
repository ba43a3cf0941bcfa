/** What is kept of a log on the page, and which of it is shown. */

export interface Line {
  /** Its place among all that came. */
  number: number;
  instance: string;
  text: string;
  level: Level;
}

export type Level = "error" | "warning" | "info";

// More than anybody reads on a page; the whole log is to be downloaded.
export const KEPT = 5_000;

const ERROR = /\b(ERROR|CRITICAL|FATAL|Traceback|[A-Za-z]*(Error|Exception)):?\b|\b(error|fatal|panic)\b/;
const WARNING = /\b(WARN|WARNING|[A-Za-z]*Warning|warn|warning)\b/;
const PLAIN = /\b(INFO|DEBUG|TRACE)\b/;

/** By the words that a line begins with, else by those in it: engines write as they like. */
export function levelOf(text: string): Level {
  const head = text.slice(0, 48);
  if (PLAIN.test(head)) return "info";
  if (WARNING.test(head)) return "warning";
  if (ERROR.test(text)) return "error";
  return WARNING.test(text) ? "warning" : "info";
}

export function added(lines: Line[], fresh: { instance: string; text: string }[]): Line[] {
  const found = [...lines];
  for (const { instance, text } of fresh) {
    const before = found.at(-1);
    // What is indented goes on with what the line before began: the frames of a traceback are part of the error.
    const goesOn = before?.instance === instance && /^\s/.test(text);
    found.push({ number: (before?.number ?? 0) + 1, instance, text, level: goesOn ? before.level : levelOf(text) });
  }
  return found.slice(-KEPT);
}

export interface Wanted {
  instance: string;
  level: Level;
  search: string;
}

const RANK: Record<Level, number> = { info: 0, warning: 1, error: 2 };

export function chosen(lines: Line[], { instance, level, search }: Wanted): Line[] {
  const words = search.trim().toLowerCase();
  if (!instance && level === "info" && !words) return lines;
  return lines.filter(
    (line) =>
      (!instance || line.instance === instance) &&
      RANK[line.level] >= RANK[level] &&
      (!words || line.text.toLowerCase().includes(words)),
  );
}
