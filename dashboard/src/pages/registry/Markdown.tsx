/** A model card. It is written by whoever pushed the version, so nothing in it becomes more than text and safe links. */

import { CodeBlock, CodeBlockCode, Content, Divider } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Fragment, useMemo } from "react";

import { blocksOf, spansOf, type Block } from "./blocks";

export function Markdown({ text }: { text: string }) {
  const blocks = useMemo(() => blocksOf(text), [text]);
  // Headings of the card come below the heading of their part of the page, and skip no level.
  const levels = [...new Set(blocks.flatMap((block) => (block.kind === "heading" ? [block.level] : [])))].sort();
  return (
    <div className="yard-card">
      {blocks.map((block, index) => (
        <BlockView key={index} block={block} level={(level) => Math.min(6, 3 + levels.indexOf(level))} />
      ))}
    </div>
  );
}

function BlockView({ block, level }: { block: Block; level: (level: number) => number }) {
  switch (block.kind) {
    case "heading":
      return (
        <Content component={`h${level(block.level)}` as "h3"}>
          <Line text={block.text} />
        </Content>
      );
    case "paragraph":
      return (
        <Content component="p">
          <Line text={block.text} />
        </Content>
      );
    case "quote":
      return (
        <Content component="blockquote">
          <Line text={block.text} />
        </Content>
      );
    case "code":
      return (
        <CodeBlock>
          <CodeBlockCode>{block.text}</CodeBlockCode>
        </CodeBlock>
      );
    case "rule":
      return <Divider />;
    case "list":
      return (
        <Content component={block.isOrdered ? "ol" : "ul"}>
          {block.items.map((item, index) => (
            <Content key={index} component="li">
              <Line text={item} />
            </Content>
          ))}
        </Content>
      );
    case "table":
      return (
        <Table variant="compact" aria-label="Table of the card">
          <Thead>
            <Tr>
              {block.head.map((cell, index) => (
                <Th key={index}>
                  <Line text={cell} />
                </Th>
              ))}
            </Tr>
          </Thead>
          <Tbody>
            {block.rows.map((row, index) => (
              <Tr key={index}>
                {row.map((cell, column) => (
                  <Td key={column} dataLabel={block.head[column]}>
                    <Line text={cell} />
                  </Td>
                ))}
              </Tr>
            ))}
          </Tbody>
        </Table>
      );
  }
}

function Line({ text }: { text: string }) {
  return spansOf(text).map((span, index) => {
    switch (span.kind) {
      case "text":
        return <Fragment key={index}>{span.text}</Fragment>;
      case "code":
        return <code key={index}>{span.text}</code>;
      case "strong":
        return <strong key={index}>{span.text}</strong>;
      case "em":
        return <em key={index}>{span.text}</em>;
      case "link":
        return (
          <a key={index} href={span.to} target="_blank" rel="noopener noreferrer nofollow">
            {span.text}
          </a>
        );
    }
  });
}
