/** One policy, or a new one: its editor, what it would do as it is written, and the exceptions from it. */

import {
  Breadcrumb,
  BreadcrumbItem,
  Button,
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  Content,
  Flex,
  FlexItem,
  Grid,
  GridItem,
  PageSection,
  Skeleton,
  Title,
} from "@patternfly/react-core";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";

import { useMe } from "../../api/queries";
import { allows } from "../../app/permissions";
import { Failed } from "../../components/Failed";
import { DeletePolicy } from "./DeletePolicy";
import { INSTALLATION, scopeInWords, usePolicy, useProspect, type Policy, type SetPolicy } from "./data";
import { Editor, type Draft } from "./Editor";
import { Overrides } from "./Overrides";
import { Prospect } from "./Prospect";
import { ModeLabel } from "./Policies";
import { WindowWeek } from "./Windows";
import { isEmpty, ruleProblems } from "./windows";
import { length, rulesInWords, selectorInWords } from "./words";
import "./policies.css";

const EMPTY: SetPolicy = { description: "", selector: {}, mode: "enforce", rules: {} };

/** As it is written: its lengths as people write them. */
function bodyOf({ description, selector, mode, rules }: Policy): SetPolicy {
  const { idle_after, max_run_time } = rules;
  const written = {
    ...rules,
    idle_after: idle_after ? length(idle_after) : null,
    max_run_time: max_run_time ? length(max_run_time) : null,
  };
  return { description, selector, mode, rules: written };
}

export function Component() {
  const { scope = "", policy: name = "" } = useParams();
  const namespace = scope === INSTALLATION ? "" : scope;
  const isNew = name === "";
  const found = usePolicy(namespace, name, !isNew);
  if (found.error && !found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  return (
    <>
      <PageSection>
        <Breadcrumb>
          <BreadcrumbItem>
            <Link to="/policies">Policies</Link>
          </BreadcrumbItem>
          <BreadcrumbItem isActive>{isNew ? "New policy" : name}</BreadcrumbItem>
        </Breadcrumb>
        {isNew ? (
          <Title headingLevel="h1">New policy</Title>
        ) : found.data ? (
          <Head policy={found.data} />
        ) : (
          <Skeleton width="20rem" fontSize="2xl" />
        )}
      </PageSection>
      <PageSection isFilled aria-label="Policy">
        {isNew ? (
          <Parts key="new" policy={null} />
        ) : (
          found.data && <Parts key={`${scope}/${name}`} policy={found.data} />
        )}
      </PageSection>
    </>
  );
}

/** What one needs to set policies of a scope, if one does not have it. */
function useForbidden(): (namespace: string) => string | null {
  const me = useMe().data;
  return (namespace) => {
    if (!me) return "";
    if (namespace === "") return me.oversees ? null : "Needs the role administrator in all namespaces.";
    return allows(me, "administer", namespace) ? null : `Needs the role administrator in namespace ${namespace}.`;
  };
}

function Head({ policy }: { policy: Policy }) {
  const [isDeleting, begin] = useState(false);
  const navigate = useNavigate();
  const forbidden = useForbidden()(policy.namespace);
  return (
    <Flex justifyContent={{ default: "justifyContentSpaceBetween" }} alignItems={{ default: "alignItemsCenter" }}>
      <FlexItem>
        <Flex alignItems={{ default: "alignItemsCenter" }} columnGap={{ default: "columnGapMd" }}>
          <Title headingLevel="h1">{policy.name}</Title>
          <ModeLabel mode={policy.mode} />
        </Flex>
        <p>Of {scopeInWords(policy.namespace)}.</p>
      </FlexItem>
      <FlexItem>
        {forbidden === null && (
          <Button variant="secondary" isDanger onClick={() => begin(true)}>
            Delete…
          </Button>
        )}
      </FlexItem>
      {isDeleting && (
        <DeletePolicy
          policy={policy}
          close={() => begin(false)}
          done={() => navigate("/policies", { replace: true })}
        />
      )}
    </Flex>
  );
}

function Parts({ policy }: { policy: Policy | null }) {
  const forbiddenIn = useForbidden();
  const me = useMe().data;
  const [edited, edit] = useState<Draft | null>(null);
  const first: Draft = policy
    ? { namespace: policy.namespace, name: policy.name, body: bodyOf(policy), version: policy.version }
    : { namespace: me?.oversees ? "" : (administered(me) ?? ""), name: "", body: EMPTY, version: null };
  const draft = edited ?? first;
  const forbidden = forbiddenIn(draft.namespace);
  const isRight = ruleProblems(draft.body.rules).length === 0 && !isEmpty(draft.body.rules);
  const prospect = useProspect(draft.namespace, policy?.name ?? "", draft.body, forbidden === null && isRight);
  return (
    <Grid hasGutter>
      <GridItem span={12} xl={6}>
        <Card>
          <CardHeader>
            <CardTitle component="h2">{policy ? "Rules" : "For whom, and what"}</CardTitle>
          </CardHeader>
          <CardBody>
            {forbidden === null || !policy ? (
              <Editor
                draft={draft}
                policy={policy}
                isEdited={edited !== null}
                edit={edit}
                leave={() => edit(null)}
                forbiddenIn={forbiddenIn}
              />
            ) : (
              <InWords policy={policy} why={forbidden} />
            )}
          </CardBody>
        </Card>
      </GridItem>
      {forbidden === null && (
        <GridItem span={12} xl={6}>
          <Grid hasGutter>
            <GridItem>
              <Card>
                <CardHeader>
                  <CardTitle component="h2">{edited || !policy ? "What it would do" : "What it does"}</CardTitle>
                </CardHeader>
                <CardBody>
                  {isRight ? (
                    <Prospect found={prospect.data} error={prospect.error} />
                  ) : (
                    <p className="yard-quiet">
                      Once it has a rule and the form is right, what it would do is shown here.
                    </p>
                  )}
                </CardBody>
              </Card>
            </GridItem>
            {policy && (
              <GridItem>
                <Card>
                  <CardHeader>
                    <CardTitle component="h2">Exceptions</CardTitle>
                  </CardHeader>
                  <CardBody>
                    <Overrides policy={policy} found={prospect.data ?? []} />
                  </CardBody>
                </Card>
              </GridItem>
            )}
          </Grid>
        </GridItem>
      )}
    </Grid>
  );
}

/** A namespace of which one may set policies. */
function administered(me: ReturnType<typeof useMe>["data"]): string | undefined {
  return me?.grants.find((grant) => grant.permissions.includes("administer") && grant.namespace !== "*")?.namespace;
}

function InWords({ policy, why }: { policy: Policy; why: string }) {
  return (
    <Content>
      <p className="yard-quiet">To change it: {why}</p>
      <p>For {selectorInWords(policy.selector)}:</p>
      <ul>
        {rulesInWords(policy.rules).map((words) => (
          <li key={words}>{words}</li>
        ))}
      </ul>
      {policy.rules.shutdown && <WindowWeek windows={policy.rules.shutdown.windows} />}
      {policy.description && <p>{policy.description}</p>}
    </Content>
  );
}
