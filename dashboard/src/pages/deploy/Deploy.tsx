/** Deploy a model, step by step: where it comes from, what it holds, how many there are, who may call it. */

import {
  Breadcrumb,
  BreadcrumbItem,
  FormGroup,
  Grid,
  PageSection,
  TextInput,
  Title,
  Wizard,
  WizardStep,
} from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useEffect, useState, type ReactNode } from "react";
import { Link, useNavigate, useSearchParams } from "react-router";

import { queryClient, useMe, useNamespaces } from "../../api/queries";
import { useNamespace } from "../../app/namespace";
import { anywhere } from "../../app/permissions";
import { messageOf } from "../../components/Failed";
import { Missing } from "../../components/Missing";
import { notify } from "../../components/notices";
import { PickOne } from "../../components/Pick";
import { errorsBelow, scheduleProblems } from "../../components/schedule/rules";
import { AccessFields } from "../../components/spec/AccessFields";
import { put, type Problem } from "../../components/spec/draft";
import { Below } from "../../components/spec/Fields";
import { Fit } from "../../components/spec/Fit";
import { FormContext, wrongAt } from "../../components/spec/form";
import { problemsOf } from "../../components/spec/problems";
import { RuntimeFields } from "../../components/spec/RuntimeFields";
import { ScalingFields } from "../../components/spec/ScalingFields";
import { SourceFields } from "../../components/spec/SourceFields";
import { StepBody } from "../../components/spec/StepBody";
import { problemsIn, STEPS, stepOf, type Step } from "../../components/spec/steps";
import { deploy, ownProblems, saveSchedule, useForecast, type Draft } from "./order";
import { Review } from "./Review";
import { Samples } from "./Samples";
import { ScheduleStep } from "./ScheduleStep";

// Kept while one looks at other pages, for as long as the tab is open.
let kept: Draft | null = null;

const empty = (namespace: string, source: string): Draft => ({
  namespace,
  name: source.split("@")[0] ?? "",
  spec: source ? { source } : {},
  isStopped: false,
  schedule: null,
  reason: "",
});

export function Component() {
  const me = useMe().data;
  if (me && !anywhere(me, "edit")) return <Missing needs="the role editor in a namespace" />;
  return (
    <>
      <PageSection>
        <Breadcrumb>
          <BreadcrumbItem>
            <Link to="/models">Models</Link>
          </BreadcrumbItem>
          <BreadcrumbItem isActive>Deploy</BreadcrumbItem>
        </Breadcrumb>
        <Title headingLevel="h1">Deploy a model</Title>
      </PageSection>
      <PageSection type="wizard" isFilled aria-label="Deploy a model">
        <Steps />
      </PageSection>
    </>
  );
}

function Steps() {
  const [asked] = useSearchParams();
  const namespace = useNamespace() || "default";
  const [draft, setDraft] = useState<Draft>(() =>
    asked.get("source") || !kept ? empty(asked.get("namespace") ?? namespace, asked.get("source") ?? "") : kept,
  );
  const [left, leave] = useState<ReadonlySet<Step>>(new Set());
  const navigate = useNavigate();
  const { forecast, error, isAsking } = useForecast(draft);
  useEffect(() => {
    kept = draft;
  }, [draft]);
  const change = (changed: Partial<Draft>) => {
    deploying.reset();
    setDraft((before) => ({ ...before, ...changed }));
  };
  const end = (to: string) => {
    kept = null;
    navigate(to);
  };
  const deploying = useMutation({
    mutationFn: () => deploy(draft),
    onSuccess: async (operation) => {
      notify("info", `${draft.name} is deployed`, operation.warnings?.join(" "));
      try {
        await saveSchedule(draft);
      } catch (refused) {
        notify("danger", `The schedule of ${draft.name} was not saved`, messageOf(refused));
      }
      void queryClient.invalidateQueries({ queryKey: ["operations"] });
      end(`/models/${draft.namespace}/${draft.name}`);
    },
  });
  const scheduleErrors = draft.schedule
    ? scheduleProblems(draft.schedule).map(({ path, message }) => ({ path: `schedule.${path}`, message }))
    : [];
  const problems: Problem[] = [
    ...ownProblems(draft),
    ...problemsOf(deploying.error ?? error).filter(({ path }) => !wrongAt(ownProblems(draft), path)),
    ...scheduleErrors,
  ];
  // What one has not come to yet is not wrong yet.
  const shown = problems.filter(({ code, path }) => code !== "required" || left.has(stepOf(path)));
  const form = {
    spec: draft.spec,
    set: (path: string[], value: unknown) => {
      deploying.reset();
      setDraft((before) => ({ ...before, spec: put(before.spec, path, value) }));
    },
    problems: shown,
  };
  const status = (step: Step) => (left.has(step) && problemsIn(problems, step).length > 0 ? "error" : "default");
  const step = (id: Step, content: ReactNode, isBeside = false) => (
    <WizardStep key={id} id={id} name={STEPS[id]} status={status(id)} {...footerOf(id)}>
      <StepBody title={STEPS[id]} beside={isBeside && fit}>
        {content}
      </StepBody>
    </WizardStep>
  );
  const isIncomplete = ownProblems(draft).some(({ path }) => path === "name" || path === "source");
  const general = error && problemsOf(error).length === 0 ? messageOf(error) : null;
  const fit = (
    <Fit
      forecast={forecast}
      isLoading={isAsking}
      unknown={
        general ??
        (problems.length ? "Once what is wrong is mended, this says so." : "Once it has a name and a source.")
      }
    />
  );
  function footerOf(id: Step) {
    if (id !== "review") return id === "source" ? { footer: { isNextDisabled: isIncomplete } } : {};
    return {
      footer: {
        nextButtonText: "Deploy",
        isNextDisabled: problems.length > 0 || isAsking || Boolean(error) || deploying.isPending,
        nextButtonProps: { isLoading: deploying.isPending },
      },
    };
  }
  return (
    <FormContext value={form}>
      <Wizard
        navAriaLabel="Steps"
        shouldFocusContent
        onStepChange={(_, __, before) => leave((all) => new Set([...all, before.id as Step]))}
        onSave={() => deploying.mutate()}
        onClose={() => end("/models")}
      >
        {step(
          "source",
          <>
            <Samples namespace={draft.namespace} />
            <Naming draft={draft} change={change} problems={shown} />
            <SourceFields key={draft.namespace} namespace={draft.namespace} isNew />
          </>,
        )}
        {step("runtime", <RuntimeFields />, true)}
        {step(
          "scaling",
          <>
            <ScalingFields />
            <ScheduleStep
              schedule={draft.schedule}
              onChange={(schedule) => change({ schedule })}
              errors={errorsBelow(shown, "schedule")}
            />
          </>,
          true,
        )}
        {step("access", <AccessFields />)}
        {step(
          "review",
          <Review
            draft={draft}
            change={change}
            problems={problems}
            warnings={forecast?.warnings ?? []}
            error={deploying.error ?? (general ? error : null)}
          />,
          true,
        )}
      </Wizard>
    </FormContext>
  );
}

interface NamingProps {
  draft: Draft;
  change: (change: Partial<Draft>) => void;
  problems: Problem[];
}

function Naming({ draft, change, problems }: NamingProps) {
  const namespaces = useNamespaces().data ?? [];
  const me = useMe().data;
  const mayIn = (namespace: string) =>
    me?.grants.some((grant) => ["*", namespace].includes(grant.namespace) && grant.permissions.includes("edit")) ??
    false;
  const wrong = wrongAt(problems, "name");
  return (
    <Grid hasGutter sm={6}>
      <FormGroup label="Name" fieldId="spec-name" isRequired>
        <TextInput
          id="spec-name"
          value={draft.name}
          autoComplete="off"
          spellCheck={false}
          validated={wrong ? "error" : "default"}
          aria-describedby="spec-name-help"
          onChange={(_, name) => change({ name })}
        />
        <Below id="spec-name" help="Small letters, digits and hyphens." wrong={wrong} />
      </FormGroup>
      <FormGroup label="Namespace" fieldId="spec-namespace" role="group">
        <PickOne
          label="Namespace"
          isFullWidth
          value={draft.namespace}
          onPick={(namespace) => change({ namespace })}
          choices={namespaces.map(({ name }) => ({
            value: name,
            words: name,
            ...(mayIn(name) ? {} : { isDisabled: true, description: "Needs the role editor there" }),
          }))}
        />
        <Below
          id="spec-namespace"
          wrong={me && !mayIn(draft.namespace) ? "You need the role editor in this namespace." : undefined}
        />
      </FormGroup>
    </Grid>
  );
}
