/** Change a model: the same form, filled with what it is; only what differs is sent. */

import {
  Breadcrumb,
  BreadcrumbItem,
  Flex,
  FlexItem,
  PageSection,
  Skeleton,
  Switch,
  Title,
  Wizard,
  WizardStep,
} from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useRef, useState, type ReactNode } from "react";
import { Link, useNavigate, useParams } from "react-router";

import { ApiError } from "../../api/client";
import { queryClient, useModel, type Model } from "../../api/queries";
import { useRefusal } from "../../components/actions/lifecycle";
import { Failed, messageOf } from "../../components/Failed";
import { Missing } from "../../components/Missing";
import { notify } from "../../components/notices";
import { AccessFields } from "../../components/spec/AccessFields";
import { merged, put, type Spec, type Tree } from "../../components/spec/draft";
import { Fit } from "../../components/spec/Fit";
import { FormContext } from "../../components/spec/form";
import { problemsOf } from "../../components/spec/problems";
import { RuntimeFields } from "../../components/spec/RuntimeFields";
import { ScalingFields } from "../../components/spec/ScalingFields";
import { SourceFields } from "../../components/spec/SourceFields";
import { StepBody } from "../../components/spec/StepBody";
import { problemsIn, STEPS, type Step } from "../../components/spec/steps";
import { AsYaml } from "./AsYaml";
import { Conflict } from "./Conflict";
import { Newer } from "./Newer";
import { NotNow } from "./NotNow";
import { isEmpty, patchOf, update, useForecast } from "./order";
import { Review, type Word } from "./Review";

export function Component() {
  const { namespace = "", name = "" } = useParams();
  const model = useModel(namespace, name);
  const refusal = useRefusal();
  if (model.error && !model.data) return <Failed error={model.error} retry={() => void model.refetch()} />;
  const why = model.data && refusal(model.data, "update");
  if (why?.startsWith("Needs ")) return <Missing needs={why.replace(/^Needs /, "").replace(/\.$/, "")} />;
  if (why) return <NotNow why={why} path={`/models/${namespace}/${name}`} />;
  return model.data ? (
    <Changing key={model.data.uid} now={model.data} />
  ) : (
    <PageSection>
      <Skeleton width="20rem" fontSize="2xl" screenreaderText="Loading" />
    </PageSection>
  );
}

function Changing({ now }: { now: Model }) {
  // What one has read; `now` goes on as others change it.
  const [base, rebase] = useState(now);
  const [spec, setSpec] = useState<Spec>(now.spec as Spec);
  const [isRenewed, renew] = useState(false);
  const [isYaml, setYaml] = useState(false);
  const [isUnread, setUnread] = useState(false);
  const [word, setWord] = useState<Word>({ acknowledged: false, reason: "" });
  const at = useRef(1);
  const navigate = useNavigate();
  const path = `/models/${now.namespace}/${now.name}`;
  // The same source, named again, is what it means by now.
  const patch = { ...patchOf(base, spec), ...(isRenewed ? { source: spec.source } : {}) };
  const { forecast, error, isAsking } = useForecast(base, patch);
  const updating = useMutation({
    mutationFn: () => update({ base, patch, acknowledge: word.acknowledged, reason: word.reason }),
    onSuccess: (operation) => {
      notify("info", `${now.name} is updated`, operation.warnings?.join(" "));
      void queryClient.invalidateQueries({ queryKey: ["operations"] });
      navigate(path);
    },
  });
  const isLate = updating.error instanceof ApiError && updating.error.status === 412;
  const isBehind = now.generation !== base.generation && !updating.isPending && !updating.isSuccess;
  const become = (next: (before: Spec) => Spec) => {
    updating.reset();
    setWord((before) => ({ ...before, acknowledged: false }));
    setSpec(next);
  };
  const begin = (next: Spec) => {
    rebase(now);
    become(() => next);
  };
  const problems = problemsOf(updating.error ?? error);
  const general = error && problemsOf(error).length === 0 ? error : null;
  const isReady =
    !isEmpty(patch) &&
    forecast?.changes.length !== 0 &&
    !isAsking &&
    !error &&
    !isBehind &&
    !isUnread &&
    (!forecast?.needs_acknowledgement || word.acknowledged);
  const fit = (isWide: boolean) => (
    <Fit
      isWide={isWide}
      forecast={isEmpty(patch) ? undefined : forecast}
      isLoading={isAsking}
      unknown={
        isEmpty(patch)
          ? "Nothing is changed yet."
          : general
            ? messageOf(general)
            : "Once what is wrong is mended, this says so."
      }
    />
  );
  const step = (id: Step, content: ReactNode, title: string = STEPS[id]) => (
    <WizardStep
      key={id}
      id={id}
      name={title}
      status={problemsIn(problems, id).length > 0 ? "error" : "default"}
      {...(id === "review"
        ? {
            footer: {
              nextButtonText: "Update",
              isNextDisabled: !isReady || updating.isPending,
              nextButtonProps: { isLoading: updating.isPending },
            },
          }
        : {})}
    >
      <StepBody title={title} beside={id !== "review" && fit(false)}>
        {content}
      </StepBody>
    </WizardStep>
  );
  const form = {
    spec,
    set: (at: string[], value: unknown) => become((before) => put(before, at, value)),
    problems,
  };
  const review = step(
    "review",
    <Review
      model={now}
      patch={patch}
      forecast={forecast}
      fit={fit(true)}
      problems={problems}
      error={isLate ? null : (updating.error ?? general)}
      word={word}
      give={(given) => setWord((before) => ({ ...before, ...given }))}
    />,
    "What changes",
  );
  const written = (
    <WizardStep key="yaml" id="source" name="YAML" status={isUnread || problems.length > 0 ? "error" : "default"}>
      <StepBody title="YAML" beside={fit(false)}>
        <AsYaml spec={spec} onChange={(read) => become(() => read)} onUnread={setUnread} />
      </StepBody>
    </WizardStep>
  );
  return (
    <FormContext value={form}>
      <PageSection>
        <Breadcrumb>
          <BreadcrumbItem>
            <Link to="/models">Models</Link>
          </BreadcrumbItem>
          <BreadcrumbItem>{now.namespace}</BreadcrumbItem>
          <BreadcrumbItem>
            <Link to={path}>{now.name}</Link>
          </BreadcrumbItem>
          <BreadcrumbItem isActive>Update</BreadcrumbItem>
        </Breadcrumb>
        <Flex justifyContent={{ default: "justifyContentSpaceBetween" }} alignItems={{ default: "alignItemsCenter" }}>
          <FlexItem>
            <Title headingLevel="h1">Update {now.name}</Title>
          </FlexItem>
          <FlexItem>
            <Switch
              id="update-as-yaml"
              label="As YAML"
              isChecked={isYaml}
              isDisabled={isYaml && isUnread}
              onChange={(_, on) => {
                at.current = 1;
                setYaml(on);
              }}
            />
          </FlexItem>
        </Flex>
      </PageSection>
      {isBehind && (
        <PageSection>
          <Conflict
            base={base}
            now={now}
            mine={patch}
            takeUp={() => begin(merged(now.spec as Tree, patch) as Spec)}
            drop={() => begin(now.spec as Spec)}
          />
        </PageSection>
      )}
      <PageSection type="wizard" isFilled aria-label={`Update ${now.name}`}>
        <Wizard
          // The fields hold what is typed in them: with another base they begin anew.
          key={`${base.generation} ${isYaml ? "yaml" : "form"}`}
          navAriaLabel="Steps"
          startIndex={isYaml ? 1 : at.current}
          onStepChange={(_, { index }) => {
            at.current = index;
          }}
          shouldFocusContent
          onSave={() => updating.mutate()}
          onClose={() => navigate(path)}
        >
          {isYaml
            ? [written, review]
            : [
                step(
                  "source",
                  <>
                    <Newer model={now} isTaken={isRenewed} take={renew} />
                    <SourceFields namespace={now.namespace} />
                  </>,
                ),
                step("runtime", <RuntimeFields />),
                step("scaling", <ScalingFields />, "Scaling"),
                step("access", <AccessFields />),
                review,
              ]}
        </Wizard>
      </PageSection>
    </FormContext>
  );
}
