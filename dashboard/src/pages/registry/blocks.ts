/** A model card's Markdown as blocks: headings, paragraphs, lists, tables, code and quotes. HTML in it stays text. */

export type Block =
  | { kind: "heading"; level: number; text: string }
  | { kind: "paragraph" | "quote" | "code"; text: string }
  | { kind: "list"; isOrdered: boolean; items: string[] }
  | { kind: "table"; head: string[]; rows: string[][] }
  | { kind: "rule" };

const FENCE = /^\s*(```|~~~)/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const ITEM = /^\s*([-*+]|\d+[.)])\s+(.*)$/;
const RULE = /^\s*([-*_])(\s*\1){2,}\s*$/;
const ROW = /^\s*\|.*\|\s*$/;
const DIVIDER = /^\s*\|[\s:|-]+\|\s*$/;

export function blocksOf(text: string): Block[] {
  const lines = withoutFrontMatter(text.split(/\r?\n/));
  const blocks: Block[] = [];
  let at = 0;
  const take = (isIn: (line: string) => boolean): string[] => {
    const taken: string[] = [];
    while (at < lines.length && isIn(lines[at]!)) taken.push(lines[at++]!);
    return taken;
  };
  while (at < lines.length) {
    const line = lines[at]!;
    const heading = HEADING.exec(line);
    if (!line.trim()) at++;
    else if (FENCE.test(line)) {
      at++;
      blocks.push({ kind: "code", text: take((next) => !FENCE.test(next)).join("\n") });
      at++;
    } else if (heading) {
      at++;
      blocks.push({ kind: "heading", level: heading[1]!.length, text: heading[2]! });
    } else if (RULE.test(line)) {
      at++;
      blocks.push({ kind: "rule" });
    } else if (ROW.test(line) && DIVIDER.test(lines[at + 1] ?? "")) {
      const [head = "", , ...rows] = take((next) => ROW.test(next));
      blocks.push({ kind: "table", head: cells(head), rows: rows.map(cells) });
    } else if (ITEM.test(line)) {
      const isOrdered = /^\s*\d/.test(line);
      const items: string[] = [];
      for (const one of take((next) => ITEM.test(next) || /^\s{2,}\S/.test(next))) {
        const item = ITEM.exec(one);
        if (item) items.push(item[2]!);
        else items.push(`${items.pop() ?? ""} ${one.trim()}`);
      }
      blocks.push({ kind: "list", isOrdered, items });
    } else if (line.startsWith(">")) {
      const quoted = take((next) => next.startsWith(">")).map((one) => one.replace(/^>\s?/, ""));
      blocks.push({ kind: "quote", text: quoted.join(" ") });
    } else {
      const isPlain = (next: string) =>
        Boolean(next.trim()) && !FENCE.test(next) && !HEADING.test(next) && !ITEM.test(next) && !next.startsWith(">");
      blocks.push({ kind: "paragraph", text: take(isPlain).join(" ") });
    }
  }
  return blocks;
}

/** Cards often begin with fields between lines of three hyphens, which are for machines. */
function withoutFrontMatter(lines: string[]): string[] {
  if (lines[0]?.trim() !== "---") return lines;
  const end = lines.indexOf("---", 1);
  return end < 0 ? lines : lines.slice(end + 1);
}

const cells = (row: string) =>
  row
    .trim()
    .replace(/^\||\|$/g, "")
    .split("|")
    .map((cell) => cell.trim());

export type Span =
  { kind: "text" | "strong" | "em" | "code"; text: string } | { kind: "link"; text: string; to: string };

const SPAN = /`([^`]+)`|\*\*([^*]+)\*\*|__([^_]+)__|\*([^*\s][^*]*)\*|\[([^\]]+)\]\(([^)\s]+)[^)]*\)/g;

/** What is emphasized, code or a link in a line. Only links to pages of the web are links. */
export function spansOf(text: string): Span[] {
  const spans: Span[] = [];
  let end = 0;
  for (const found of text.matchAll(SPAN)) {
    if (found.index > end) spans.push({ kind: "text", text: text.slice(end, found.index) });
    end = found.index + found[0].length;
    const [, code, bold, boldToo, em, words, to] = found;
    if (code) spans.push({ kind: "code", text: code });
    else if (bold ?? boldToo) spans.push({ kind: "strong", text: (bold ?? boldToo)! });
    else if (em) spans.push({ kind: "em", text: em });
    else if (words && to && /^https?:\/\//i.test(to)) spans.push({ kind: "link", text: words, to });
    else spans.push({ kind: "text", text: words ?? found[0] });
  }
  if (end < text.length) spans.push({ kind: "text", text: text.slice(end) });
  return spans;
}
