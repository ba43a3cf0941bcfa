/** Try any model: what it answers to a request that is drawn, filled in or written. */

import {
  Button,
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
  PageSection,
  Skeleton,
  Title,
  ToolbarItem,
} from "@patternfly/react-core";
import { CubesIcon } from "@patternfly/react-icons";
import { useMemo } from "react";
import { Link, useSearchParams } from "react-router";

import { useModels, type Model } from "../../api/queries";
import { useNamespace } from "../../app/namespace";
import { Failed } from "../../components/Failed";
import { PickBySearch } from "../../components/PickBySearch";
import { idOf, targetOf, written } from "./targets";
import { choicesOf, Tryout } from "./Tryout";

export function Component() {
  const models = useModels();
  const namespace = useNamespace();
  const [parameters, set] = useSearchParams();
  const callable = useMemo(() => callableOf(models.data ?? [], namespace), [models.data, namespace]);
  const first = callable[0];
  const target =
    targetOf(parameters.get("model") ?? "", models.data ?? []) ?? (first ? { model: first, revision: "" } : null);
  const beside = targetOf(parameters.get("beside") ?? "", models.data ?? []);
  const choose = (model: string, other: string) =>
    set({ ...(model && { model }), ...(other && other !== model && { beside: other }) }, { replace: true });
  return (
    <>
      <PageSection>
        <Title headingLevel="h1">Playground</Title>
        <p>Ask a model and see what it answers, how fast, and by which code.</p>
      </PageSection>
      <PageSection isFilled aria-label="Playground">
        {models.error && !models.data ? (
          <Failed error={models.error} retry={() => void models.refetch()} />
        ) : !models.data ? (
          <Skeleton height="30rem" screenreaderText="Loading models" />
        ) : !target ? (
          <NothingToAsk hasModels={models.data.length > 0} />
        ) : (
          <Tryout
            target={target}
            beside={beside && written(beside) !== written(target) ? beside : null}
            models={callable}
            change={(change) =>
              choose(
                written({ ...target, revision: change.revision ?? target.revision }),
                change.beside ?? parameters.get("beside") ?? "",
              )
            }
          >
            <ToolbarItem>
              <PickBySearch
                id="playground-model"
                label="Model"
                value={idOf(target.model)}
                onPick={(model) => choose(model, parameters.get("beside") ?? "")}
                choices={choicesOf(callable)}
              />
            </ToolbarItem>
          </Tryout>
        )}
      </PageSection>
    </>
  );
}

/** Those that can be asked, those that serve first. */
function callableOf(models: Model[], namespace: string): Model[] {
  const found = models.filter(
    (model) =>
      (!namespace || model.namespace === namespace) && (model.status.endpoints.infer || model.status.endpoints.proxy),
  );
  const serves = (model: Model) => Number(model.status.instances_ready > 0);
  return found.sort((a, b) => serves(b) - serves(a) || a.name.localeCompare(b.name));
}

function NothingToAsk({ hasModels }: { hasModels: boolean }) {
  return (
    <EmptyState icon={CubesIcon} titleText="No model to ask" headingLevel="h2">
      <EmptyStateBody>
        {hasModels
          ? "No model of this namespace has an endpoint. Choose another namespace, or start one."
          : "Deploy one, or begin with a bundled sample: it recognises digits that you draw."}
      </EmptyStateBody>
      <EmptyStateFooter>
        <EmptyStateActions>
          <Button variant="primary" component={(props) => <Link {...props} to={hasModels ? "/models" : "/deploy"} />}>
            {hasModels ? "See the models" : "Deploy a model"}
          </Button>
        </EmptyStateActions>
      </EmptyStateFooter>
    </EmptyState>
  );
}
