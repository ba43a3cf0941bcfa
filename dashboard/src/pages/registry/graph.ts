/** Where versions come from, as a graph in columns: data sets, then versions behind the version they were made of. */

import type { Version } from "./queries";

export interface Node {
  id: string;
  kind: "dataset" | "version" | "elsewhere";
  /** At most two lines. */
  lines: string[];
  column: number;
  row: number;
}

export interface Edge {
  from: string;
  to: string;
  kind: "dataset" | "parent";
}

export interface Graph {
  nodes: Node[];
  edges: Edge[];
  columns: number;
  rows: number;
}

/** `versions` as the server lists them: the highest first. */
export function graphOf(versions: Version[], name: string): Graph {
  const known = new Map(versions.map((version) => [version.version, version]));
  const parentOf = ({ lineage }: Version) => (lineage.parent ?? "").replace(new RegExp(`^${name}@`), "");
  const depths = new Map<string, number>();
  // A version is published after its parent, so that no line of parents comes back to itself.
  const depthOf = (version: Version): number => {
    const before = depths.get(version.version);
    if (before !== undefined) return before;
    const parent = known.get(parentOf(version));
    const depth = parent ? depthOf(parent) + 1 : parentOf(version) ? 1 : 0;
    depths.set(version.version, depth);
    return depth;
  };
  const oldestFirst = [...versions].reverse();
  const datasets = [...new Set(oldestFirst.map(({ lineage }) => lineage.dataset ?? "").filter(Boolean))];
  const first = datasets.length > 0 ? 1 : 0;
  const nodes: Node[] = datasets.map((dataset, row) => ({
    id: `dataset:${dataset}`,
    kind: "dataset",
    lines: [dataset],
    column: 0,
    row,
  }));
  const edges: Edge[] = [];
  const rows = new Map<number, number>([[0, datasets.length]]);
  const add = (id: string, kind: Node["kind"], lines: string[], column: number) => {
    const row = rows.get(column) ?? 0;
    rows.set(column, row + 1);
    nodes.push({ id, kind, lines, column, row });
  };
  for (const version of oldestFirst) {
    const parent = parentOf(version);
    const id = `version:${version.version}`;
    if (parent && !known.has(parent) && !nodes.some((node) => node.id === `version:${parent}`)) {
      add(`version:${parent}`, "elsewhere", [parent], first);
    }
    const { training_run: run, code_revision: code, dataset } = version.lineage;
    const about = [run, code].filter(Boolean).join(" · ");
    add(id, "version", about ? [version.version, about] : [version.version], first + depthOf(version));
    if (parent) edges.push({ from: `version:${parent}`, to: id, kind: "parent" });
    if (dataset) edges.push({ from: `dataset:${dataset}`, to: id, kind: "dataset" });
  }
  return {
    nodes,
    edges,
    columns: Math.max(1, ...nodes.map((node) => node.column + 1)),
    rows: Math.max(1, ...rows.values()),
  };
}
