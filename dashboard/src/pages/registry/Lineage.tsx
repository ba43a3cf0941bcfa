/** Where the versions come from: drawn, and as a table that says the same. */

import { Card, CardBody, CardHeader, CardTitle, Content, Flex, Skeleton } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMemo } from "react";
import { Link } from "react-router";

import { Failed } from "../../components/Failed";
import { graphOf, type Graph, type Node } from "./graph";
import { useVersions, type Place, type Version } from "./queries";

// More are no longer a picture that one reads.
const MOST_DRAWN = 60;

export function Lineage({ place }: { place: Place }) {
  const versions = useVersions(place);
  const graph = useMemo(
    () => graphOf((versions.data ?? []).slice(0, MOST_DRAWN), place.name),
    [versions.data, place.name],
  );
  if (versions.error && !versions.data) {
    return <Failed error={versions.error} retry={() => void versions.refetch()} />;
  }
  if (!versions.data) return <Skeleton height="20rem" screenreaderText="Loading the lineage" />;
  if (versions.data.length === 0) return <Content component="p">It has no version yet.</Content>;
  return (
    <Flex direction={{ default: "column" }} rowGap={{ default: "rowGapMd" }}>
      <Card>
        <CardHeader>
          <CardTitle component="h2">What was made of what</CardTitle>
        </CardHeader>
        <CardBody>
          <Content component="small">
            Solid lines lead from a version to those that were made of it, dashed ones from the data that they were
            trained on.
            {versions.data.length > MOST_DRAWN && ` The newest ${MOST_DRAWN} are drawn; all are in the table.`}
          </Content>
          <Drawing graph={graph} place={place} />
        </CardBody>
      </Card>
      <Sources place={place} versions={versions.data} />
    </Flex>
  );
}

// Of the drawing, in pixels.
const [WIDTH, HEIGHT, ACROSS, DOWN, EDGE] = [190, 48, 80, 24, 14];
const LETTERS = 24;

function Drawing({ graph, place }: { graph: Graph; place: Place }) {
  const at = new Map(graph.nodes.map((node) => [node.id, { x: xOf(node), y: yOf(node) }]));
  const [width, height] = [
    graph.columns * (WIDTH + ACROSS) - ACROSS + 2 * EDGE,
    graph.rows * (HEIGHT + DOWN) - DOWN + 2 * EDGE,
  ];
  return (
    <div className="yard-graph" tabIndex={0} role="region" aria-label="Lineage, drawn">
      <svg width={width} height={height} role="group" aria-label="The table below says the same">
        {graph.edges.map(({ from, to, kind }) => {
          const [a, b] = [at.get(from), at.get(to)];
          if (!a || !b) return null;
          return (
            <path
              key={`${from} ${to}`}
              className={`yard-graph-${kind}`}
              d={kind === "parent" ? parentLine(a, b) : datasetLine(a, b)}
            />
          );
        })}
        {graph.nodes.map((node) =>
          node.kind === "version" ? (
            <a key={node.id} href={`#/registry/${place.namespace}/${place.name}/${node.lines[0]}`}>
              <Box node={node} />
            </a>
          ) : (
            <Box key={node.id} node={node} />
          ),
        )}
      </svg>
    </div>
  );
}

interface Point {
  x: number;
  y: number;
}

/** To the next column. */
function parentLine(from: Point, to: Point): string {
  const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT * 0.6, to.x, to.y + HEIGHT * 0.6];
  return `M ${x1} ${y1} C ${x1 + ACROSS / 2} ${y1}, ${x2 - ACROSS / 2} ${y2}, ${x2} ${y2}`;
}

/** Over the row that it leads to, so that it is behind no version. */
function datasetLine(from: Point, to: Point): string {
  const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x, to.y + HEIGHT * 0.25];
  const half = ACROSS / 2;
  if (x2 - x1 <= ACROSS) return `M ${x1} ${y1} C ${x1 + half} ${y1}, ${x2 - half} ${y2}, ${x2} ${y2}`;
  // Those of several data sets run beside each other.
  const lane = to.y - DOWN / 2 + (Math.round(from.y / (HEIGHT + DOWN)) % 3) * 3 - 3;
  const [begin, end] = [x1 + ACROSS * 0.8, x2 - ACROSS * 0.3];
  return (
    `M ${x1} ${y1} C ${x1 + half} ${y1}, ${x1 + half * 0.6} ${lane}, ${begin} ${lane} ` +
    `L ${end} ${lane} C ${end + 12} ${lane}, ${end + 4} ${y2}, ${x2} ${y2}`
  );
}

const xOf = ({ column }: Node) => EDGE + column * (WIDTH + ACROSS);
const yOf = ({ row }: Node) => EDGE + row * (HEIGHT + DOWN);

function Box({ node }: { node: Node }) {
  const [x, y] = [xOf(node), yOf(node)];
  return (
    <g className={`yard-graph-node yard-graph-node--${node.kind}`}>
      <title>{node.lines.join(", ")}</title>
      <rect x={x} y={y} width={WIDTH} height={HEIGHT} rx={node.kind === "dataset" ? HEIGHT / 2 : 6} />
      {node.lines.map((line, index) => (
        <text
          key={index}
          x={x + WIDTH / 2}
          y={y + (node.lines.length === 1 ? 29 : 21 + index * 17)}
          textAnchor="middle"
          className={index > 0 ? "yard-graph-about" : undefined}
        >
          {line.length > LETTERS ? `${line.slice(0, LETTERS - 1)}…` : line}
        </text>
      ))}
    </g>
  );
}

function Sources({ place, versions }: { place: Place; versions: Version[] }) {
  return (
    <Table aria-label="Lineage" variant="compact">
      <Thead>
        <Tr>
          <Th>Version</Th>
          <Th>Made of</Th>
          <Th>Data set</Th>
          <Th>Training run</Th>
          <Th>Code</Th>
          <Th>Files from</Th>
        </Tr>
      </Thead>
      <Tbody>
        {versions.map(({ version, lineage }) => (
          <Tr key={version}>
            <Td dataLabel="Version" className="yard-number">
              <Link to={`/registry/${place.namespace}/${place.name}/${version}`}>{version}</Link>
            </Td>
            <Td dataLabel="Made of" className="yard-number">
              {lineage.parent || "–"}
            </Td>
            <Td dataLabel="Data set">{lineage.dataset || "–"}</Td>
            <Td dataLabel="Training run">{lineage.training_run || "–"}</Td>
            <Td dataLabel="Code">{lineage.code_revision || "–"}</Td>
            <Td dataLabel="Files from" modifier="breakWord">
              {lineage.source || "–"}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
