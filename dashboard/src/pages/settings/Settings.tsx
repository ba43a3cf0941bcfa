/** The installation: what can be seen to here, and for what cannot where it is set. */

import { PageSection, Title } from "@patternfly/react-core";
import { useParams } from "react-router";

import { useMe } from "../../api/queries";
import { Missing, OVERSEE } from "../../components/Missing";
import { PageTabs } from "../../components/PageTabs";
import { About } from "./About";
import { DoctorTab } from "./DoctorTab";
import { RegistryTab } from "./RegistryTab";
import { SetOutside } from "./SetOutside";
import { SignaturesTab } from "./SignaturesTab";

export function Component() {
  const { tab = "" } = useParams();
  const me = useMe().data;
  if (me && !me.oversees) return <Missing needs={OVERSEE} />;
  return (
    <>
      <PageSection>
        <Title headingLevel="h1">Settings</Title>
      </PageSection>
      <PageTabs
        base="/settings"
        tab={tab}
        label="About settings"
        tabs={[
          { path: "", words: "Installation", content: () => <About /> },
          { path: "doctor", words: "Doctor", content: () => <DoctorTab /> },
          { path: "registry", words: "Store and cache", content: () => <RegistryTab /> },
          { path: "signatures", words: "Signatures", content: () => <SignaturesTab /> },
          { path: "outside", words: "Set outside", content: () => <SetOutside /> },
        ]}
      />
    </>
  );
}
