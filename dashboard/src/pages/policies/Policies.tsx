/** All policies: for whom they are, what they ask, and how many models they bear on now. */

import {
  Button,
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
  Flex,
  FlexItem,
  Label,
  PageSection,
  Title,
  Tooltip,
} from "@patternfly/react-core";
import { ShieldAltIcon } from "@patternfly/react-icons";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Link } from "react-router";

import { useMe, useModels } from "../../api/queries";
import { anywhere } from "../../app/permissions";
import { Failed } from "../../components/Failed";
import { many } from "../../components/quantities";
import { LoadingRows } from "../../components/Rows";
import { scopeInWords, scopeOf, selects, usePolicies, type Policy } from "./data";
import { Explain } from "./Explain";
import { rulesInWords, selectorInWords } from "./words";
import "./policies.css";

export function Component() {
  const policies = usePolicies();
  const me = useMe().data;
  const maySet = me !== undefined && (me.oversees || anywhere(me, "administer"));
  return (
    <>
      <PageSection>
        <Flex justifyContent={{ default: "justifyContentSpaceBetween" }} alignItems={{ default: "alignItemsCenter" }}>
          <FlexItem>
            <Title headingLevel="h1">Policies</Title>
          </FlexItem>
          <FlexItem>
            <NewPolicy maySet={maySet} />
          </FlexItem>
        </Flex>
      </PageSection>
      <PageSection isFilled aria-label="Policies">
        {policies.error && !policies.data ? (
          <Failed error={policies.error} retry={() => void policies.refetch()} />
        ) : !policies.data ? (
          <LoadingRows words="Loading policies" />
        ) : policies.data.length === 0 ? (
          <Nothing maySet={maySet} />
        ) : (
          <PolicyTable policies={policies.data} />
        )}
        {me && !me.oversees && (
          <p className="yard-quiet">
            Policies of the whole installation are shown to its administrators. What they come to for a model is below.
          </p>
        )}
        <Card className="yard-explain">
          <CardHeader>
            <CardTitle component="h2">What holds for a model</CardTitle>
          </CardHeader>
          <CardBody>
            <Explain />
          </CardBody>
        </Card>
      </PageSection>
    </>
  );
}

function NewPolicy({ maySet }: { maySet: boolean }) {
  if (maySet) return <Button component={(props) => <Link {...props} to="/policies/new" />}>New policy</Button>;
  return (
    <Tooltip content="Needs the role administrator in a namespace.">
      <Button isAriaDisabled>New policy</Button>
    </Tooltip>
  );
}

function PolicyTable({ policies }: { policies: Policy[] }) {
  const models = useModels().data;
  return (
    <Table aria-label="Policies" variant="compact">
      <Thead>
        <Tr>
          <Th>Policy</Th>
          <Th>For</Th>
          <Th>Rules</Th>
          <Th>Mode</Th>
          <Th modifier="nowrap">Bears on</Th>
        </Tr>
      </Thead>
      <Tbody>
        {policies.map((policy) => (
          <Tr key={`${scopeOf(policy)}/${policy.name}`}>
            <Td dataLabel="Policy">
              <Link to={`/policies/${scopeOf(policy)}/${policy.name}`}>{policy.name}</Link>
              <div className="yard-quiet">of {scopeInWords(policy.namespace)}</div>
            </Td>
            <Td dataLabel="For">{selectorInWords(policy.selector)}</Td>
            <Td dataLabel="Rules">
              {rulesInWords(policy.rules).map((words) => (
                <div key={words}>{words}</div>
              ))}
              {policy.description && <div className="yard-quiet">{policy.description}</div>}
            </Td>
            <Td dataLabel="Mode">
              <ModeLabel mode={policy.mode} />
            </Td>
            <Td dataLabel="Bears on" className="yard-number" modifier="nowrap">
              {models ? many(models.filter((model) => selects(policy, model)).length, "model") : "…"}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

export function ModeLabel({ mode }: { mode: Policy["mode"] }) {
  return mode === "enforce" ? (
    <Label isCompact color="blue">
      Enforced
    </Label>
  ) : (
    <Label isCompact color="orange">
      Only warns
    </Label>
  );
}

function Nothing({ maySet }: { maySet: boolean }) {
  return (
    <EmptyState icon={ShieldAltIcon} titleText="No policies" headingLevel="h2">
      <EmptyStateBody>
        A policy shuts models down over nights and weekends, stops what nobody uses, caps what one may hold, asks for
        signatures, or protects a model from being stopped. What it would do is shown before it is saved.
      </EmptyStateBody>
      {maySet && (
        <EmptyStateFooter>
          <EmptyStateActions>
            <NewPolicy maySet />
          </EmptyStateActions>
        </EmptyStateFooter>
      )}
    </EmptyState>
  );
}
