/** What the aliases of a registered model mean, what they meant before, and the way back. */

import { Content, Flex, Skeleton } from "@patternfly/react-core";
import { ExpandableRowContent, Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useState } from "react";
import { Link } from "react-router";

import { useModels } from "../../api/queries";
import { Ago } from "../../components/Ago";
import { Failed } from "../../components/Failed";
import { Refusable } from "../../components/Refusable";
import { AliasLabel } from "./AliasLabel";
import { MoveAlias } from "./MoveAlias";
import { useAliases, useHistory, type Alias, type Place } from "./queries";
import { useNeedsEdit } from "./needs";
import { RollBack } from "./RollBack";
import { pickOf, servedOf } from "./served";

export function Aliases({ place }: { place: Place }) {
  const aliases = useAliases(place);
  const [isMaking, make] = useState(false);
  const needs = useNeedsEdit(place);
  if (aliases.error && !aliases.data) return <Failed error={aliases.error} retry={() => void aliases.refetch()} />;
  if (!aliases.data) return <Skeleton height="12rem" screenreaderText="Loading aliases" />;
  return (
    <Flex
      direction={{ default: "column" }}
      rowGap={{ default: "rowGapMd" }}
      alignItems={{ default: "alignItemsFlexStart" }}
    >
      <Refusable why={needs} variant="secondary" onClick={() => make(true)}>
        New alias…
      </Refusable>
      {aliases.data.length === 0 ? (
        <Content component="p">
          It has no alias yet. One such as stable says which version is meant, and models that name it follow.
        </Content>
      ) : (
        <Table aria-label="Aliases" variant="compact" gridBreakPoint="grid-lg">
          <Thead>
            <Tr>
              <Th screenReaderText="History" />
              <Th>Alias</Th>
              <Th>Version</Th>
              <Th>Named by</Th>
              <Th>Moved</Th>
              <Th>Reason</Th>
              <Th screenReaderText="Actions" />
            </Tr>
          </Thead>
          {aliases.data.map((alias, index) => (
            <Row key={alias.alias} place={place} alias={alias} index={index} needs={needs} />
          ))}
        </Table>
      )}
      {isMaking && <MoveAlias place={place} alias="" close={() => make(false)} />}
    </Flex>
  );
}

interface RowProps {
  place: Place;
  alias: Alias;
  index: number;
  /** What one lacks to move it; null: nothing. */
  needs: string | null;
}

function Row({ place, alias, index, needs }: RowProps) {
  const [isOpen, open] = useState(false);
  const [dialog, show] = useState<"move" | "back" | null>(null);
  const history = useHistory(place, alias.alias, isOpen || dialog === "back");
  const named = servedOf(useModels().data ?? [], place).filter(
    (model) => pickOf(model.spec.source, place.name) === alias.alias,
  );
  // What the registry keeps by itself is not moved by hand.
  const isKept = alias.alias === "latest";
  return (
    <Tbody isExpanded={isOpen}>
      <Tr>
        <Td
          expand={{
            rowIndex: index,
            isExpanded: isOpen,
            onToggle: () => open(!isOpen),
            expandId: `alias-${alias.alias}`,
          }}
        />
        <Td dataLabel="Alias">
          <AliasLabel alias={alias.alias} />
        </Td>
        <Td dataLabel="Version" className="yard-number">
          <Link to={`/registry/${place.namespace}/${place.name}/${alias.version}`}>{alias.version}</Link>
        </Td>
        <Td dataLabel="Named by">
          {named.length === 0
            ? "–"
            : named.map((model) => (
                <div key={model.uid}>
                  <Link to={`/models/${model.namespace}/${model.name}`}>{model.name}</Link>{" "}
                  <span className="yard-quiet">{model.spec.follow === "auto" ? "follows" : "is offered it"}</span>
                </div>
              ))}
        </Td>
        <Td dataLabel="Moved">
          <Ago at={alias.moved_at} /> <span className="yard-quiet">by {alias.moved_by}</span>
        </Td>
        <Td dataLabel="Reason">{alias.reason || "–"}</Td>
        <Td modifier="nowrap">
          {isKept ? (
            <span className="yard-quiet">kept by the registry</span>
          ) : (
            <Flex columnGap={{ default: "columnGapMd" }} flexWrap={{ default: "nowrap" }}>
              <Refusable
                why={needs}
                variant="link"
                isInline
                aria-label={`Move… ${alias.alias}`}
                onClick={() => show("move")}
              >
                Move…
              </Refusable>
              <Refusable
                why={needs ?? (alias.moves < 2 ? "It has never pointed anywhere else." : null)}
                variant="link"
                isInline
                aria-label={`Roll back… ${alias.alias}`}
                onClick={() => show("back")}
              >
                Roll back…
              </Refusable>
            </Flex>
          )}
        </Td>
      </Tr>
      <Tr isExpanded={isOpen}>
        <Td colSpan={7}>
          <ExpandableRowContent>
            {history.data ? (
              <ol className="yard-events" aria-label={`History of ${alias.alias}`}>
                {history.data.map((move) => (
                  <li key={move.number}>
                    <span className="yard-quiet">
                      <Ago at={move.at} />
                    </span>
                    <span className="yard-number">
                      {move.from ?? "nowhere"} → {move.to ?? "removed"}
                      {move.kind === "rollback" && " (rolled back)"}
                      {move.reason && `: ${move.reason}`}
                    </span>
                    <span className="yard-quiet">{move.actor}</span>
                  </li>
                ))}
              </ol>
            ) : (
              isOpen && <Skeleton height="3rem" screenreaderText="Loading the history" />
            )}
          </ExpandableRowContent>
        </Td>
      </Tr>
      {dialog === "move" && <MoveAlias place={place} alias={alias.alias} close={() => show(null)} />}
      {dialog === "back" && (
        <RollBack place={place} alias={alias} before={history.data?.[0]?.from ?? null} close={() => show(null)} />
      )}
    </Tbody>
  );
}
