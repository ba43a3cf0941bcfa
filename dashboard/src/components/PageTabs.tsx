/** A page's tabs, of which the address says which is shown. */

import { Bullseye, PageSection, Spinner, Tab, Tabs, TabTitleText } from "@patternfly/react-core";
import { Suspense, useId, type ReactNode } from "react";
import { useNavigate } from "react-router";

export interface PageTab {
  /** The last part of the address; "" is the first tab. */
  path: string;
  words: string;
  content: () => ReactNode;
}

export function PageTabs({ base, tab, tabs, label }: { base: string; tab: string; tabs: PageTab[]; label: string }) {
  const navigate = useNavigate();
  const id = useId();
  const shown = tabs.find((one) => one.path === tab) ?? tabs[0];
  return (
    <>
      <PageSection type="tabs" hasBodyWrapper={false}>
        <Tabs
          activeKey={shown?.path ?? ""}
          onSelect={(_, key) => navigate(key ? `${base}/${key}` : base, { replace: true })}
          aria-label={label}
          role="region"
          usePageInsets
        >
          {tabs.map(({ path, words }) => (
            <Tab key={path} eventKey={path} tabContentId={id} title={<TabTitleText>{words}</TabTitleText>} />
          ))}
        </Tabs>
      </PageSection>
      <PageSection isFilled id={id} role="tabpanel" aria-label={shown?.words ?? ""}>
        <Suspense
          fallback={
            <Bullseye>
              <Spinner aria-label="Loading" />
            </Bullseye>
          }
        >
          {shown?.content()}
        </Suspense>
      </PageSection>
    </>
  );
}
