/** Alerts: what fires now, the rules by which it does, and who is told. */

import { PageSection, Title } from "@patternfly/react-core";
import { useParams } from "react-router";

import { useMe } from "../../api/queries";
import { anywhere } from "../../app/permissions";
import { Missing } from "../../components/Missing";
import { PageTabs } from "../../components/PageTabs";
import { Firing } from "./Firing";
import { Rules } from "./Rules";
import { Webhooks } from "./Webhooks";

export function Component() {
  const { tab = "" } = useParams();
  const me = useMe().data;
  if (me && !anywhere(me, "read")) return <Missing needs="the role viewer in a namespace" />;
  const set = [
    { path: "rules", words: "Rules", content: () => <Rules scope="" /> },
    { path: "webhooks", words: "Webhooks", content: () => <Webhooks scope="" /> },
  ];
  return (
    <>
      <PageSection>
        <Title headingLevel="h1">Alerts</Title>
      </PageSection>
      <PageTabs
        base="/alerts"
        tab={tab}
        label="About alerts"
        tabs={[{ path: "", words: "Now", content: () => <Firing /> }, ...(me?.oversees ? set : [])]}
      />
    </>
  );
}
