/** One model: its state and actions above, and what there is to know of it in tabs. */

import {
  Breadcrumb,
  BreadcrumbItem,
  Bullseye,
  PageSection,
  Skeleton,
  Spinner,
  Tab,
  Tabs,
  TabTitleText,
} from "@patternfly/react-core";
import { Suspense } from "react";
import { Link, useNavigate, useParams } from "react-router";

import { useModel } from "../../api/queries";
import { Failed } from "../../components/Failed";
import { Head } from "./Head";
import "./model.css";
import { TABS } from "./tabs";

export function Component() {
  const { namespace = "", name = "", tab = "" } = useParams();
  const model = useModel(namespace, name);
  const navigate = useNavigate();
  const path = `/models/${namespace}/${name}`;
  if (model.error && !model.data) return <Failed error={model.error} retry={() => void model.refetch()} />;
  const shown = TABS.find((one) => one.path === tab) ?? TABS[0];
  return (
    <>
      <PageSection>
        <Breadcrumb>
          <BreadcrumbItem>
            <Link to="/models">Models</Link>
          </BreadcrumbItem>
          <BreadcrumbItem>{namespace}</BreadcrumbItem>
          <BreadcrumbItem isActive>{name}</BreadcrumbItem>
        </Breadcrumb>
        {model.data ? (
          <Head model={model.data} gone={() => navigate("/models")} />
        ) : (
          <Skeleton width="20rem" fontSize="2xl" />
        )}
      </PageSection>
      <PageSection type="tabs" hasBodyWrapper={false}>
        <Tabs
          activeKey={shown?.path ?? ""}
          onSelect={(_, key) => navigate(`${path}/${key}`, { replace: true })}
          aria-label={`About ${name}`}
          role="region"
          usePageInsets
        >
          {TABS.map(({ path: key, words }) => (
            <Tab key={key} eventKey={key} tabContentId="model-tab" title={<TabTitleText>{words}</TabTitleText>} />
          ))}
        </Tabs>
      </PageSection>
      <PageSection isFilled id="model-tab" role="tabpanel" aria-label={shown?.words ?? ""}>
        {model.data && shown && (
          <Suspense
            fallback={
              <Bullseye>
                <Spinner aria-label="Loading" />
              </Bullseye>
            }
          >
            <shown.content model={model.data} />
          </Suspense>
        )}
      </PageSection>
    </>
  );
}
