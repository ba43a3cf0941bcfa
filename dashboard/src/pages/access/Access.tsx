/** Who may come in to the whole installation: members and API keys of all namespaces. */

import { PageSection, Title } from "@patternfly/react-core";
import { Link, useParams } from "react-router";

import { useMe } from "../../api/queries";
import { Missing, OVERSEE } from "../../components/Missing";
import { PageTabs } from "../../components/PageTabs";
import { Keys } from "./Keys";
import { Members } from "./Members";

export function Component() {
  const { tab = "" } = useParams();
  const me = useMe().data;
  if (me && !me.oversees) return <Missing needs={OVERSEE} />;
  return (
    <>
      <PageSection>
        <Title headingLevel="h1">Access</Title>
        <p>
          Members and keys here reach every namespace. Those of one are in <Link to="/namespaces">Namespaces</Link>.
        </p>
      </PageSection>
      <PageTabs
        base="/access"
        tab={tab}
        label="About access"
        tabs={[
          { path: "", words: "Members", content: () => <Members scope="" /> },
          { path: "keys", words: "API keys", content: () => <Keys scope="" /> },
        ]}
      />
    </>
  );
}
