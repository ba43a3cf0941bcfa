/** Everything once more: what would come of it, what is still wrong and where, and the same as text. */

import {
  Alert,
  Checkbox,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  FormGroup,
  FormSection,
  TextInput,
} from "@patternfly/react-core";
import { stringify } from "yaml";

import { ErrorAlert } from "../../components/Failed";
import type { SaveSchedule } from "../../components/schedule/rules";
import { asSent, leaves, type Problem, type Spec, type Tree } from "../../components/spec/draft";
import { SameAs, type Way } from "../../components/spec/SameAs";
import { curl, deployCommand, masked, yamlOf, type Wish } from "../../components/spec/shell";
import { ToMend } from "../../components/spec/ToMend";
import { pathOf, bodyOf, type Draft } from "./order";

interface Props {
  draft: Draft;
  change: (change: Partial<Draft>) => void;
  problems: Problem[];
  warnings: string[];
  error: unknown;
}

export function Review({ draft, change, problems, warnings, error }: Props) {
  return (
    <>
      {error !== null && <ErrorAlert title="It was not deployed" error={error} />}
      <ToMend problems={problems} />
      {warnings.map((warning) => (
        <Alert key={warning} variant="warning" isInline title={warning} component="p" />
      ))}
      <Summary draft={draft} />
      <FormSection>
        <Checkbox
          id="deploy-stopped"
          label="Create it, but do not start it"
          isChecked={draft.isStopped}
          onChange={(_, isStopped) => change({ isStopped })}
        />
        <FormGroup label="Reason" fieldId="deploy-reason">
          <TextInput
            id="deploy-reason"
            value={draft.reason}
            onChange={(_, reason) => change({ reason })}
            placeholder="On record for everyone who asks why"
          />
        </FormGroup>
      </FormSection>
      <FormSection title="The same as text" titleElement="h3">
        <SameAs label="The same as text" ways={waysOf(draft)} />
      </FormSection>
    </>
  );
}

function Summary({ draft }: { draft: Draft }) {
  const fields = leaves(masked(asSent(draft.spec) as Tree));
  return (
    <DescriptionList
      isHorizontal
      isCompact
      horizontalTermWidthModifier={{ default: "18rem" }}
      aria-label="What is deployed"
    >
      <Said term="name">
        {draft.name} in namespace {draft.namespace}
      </Said>
      {fields.map(([path, value]) => (
        <Said key={path.join(".")} term={path.join(".")}>
          {typeof value === "string" ? value : JSON.stringify(value)}
        </Said>
      ))}
      {draft.schedule && <Said term="schedule">{scheduleWords(draft.schedule)}</Said>}
    </DescriptionList>
  );
}

function Said({ term, children }: { term: string; children: React.ReactNode }) {
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>
        <code>{term}</code>
      </DescriptionListTerm>
      <DescriptionListDescription className="yard-number">{children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}

function scheduleWords({ type, recurring, daily, timezone }: SaveSchedule): string {
  const days =
    type === "recurring"
      ? `every day ${recurring?.start ?? ""} to ${recurring?.stop ?? ""}`
      : Object.entries(daily ?? {})
          .map(([day, { start, stop }]) => `${day} ${start} to ${stop}`)
          .join(", ");
  return `${days} (${timezone})`;
}

function waysOf(draft: Draft): Way[] {
  const spec = asSent(draft.spec);
  const { namespace, name, schedule } = draft;
  const wish: Wish = { namespace, name, spec, desired: draft.isStopped ? "stopped" : "running" };
  const at = namespace === "default" ? "" : ` --namespace ${namespace}`;
  const command = deployCommand(wish);
  const call = curl({ method: "POST", path: pathOf(namespace), body: bodyOf(draft) as Tree });
  const secrets = Object.keys(spec.container?.secrets ?? {});
  const note = secrets.length > 0 ? { note: `Set ${secrets.join(", ")} in your shell first.` } : {};
  return [
    {
      words: "YAML",
      text: yamlOf({ ...wish, spec: masked(spec as Tree) as Spec }),
      note: "For modelyard apply -f FILE.",
    },
    {
      words: "Command",
      text: schedule
        ? `${command}\n\nmodelyard schedule set ${name}${at} -f - <<'YAML'\n${stringify(schedule)}YAML`
        : command,
      ...note,
    },
    {
      words: "API",
      text: schedule
        ? `${call}\n\n${curl({ method: "PUT", path: `${pathOf(namespace)}/${name}/schedule`, body: schedule })}`
        : call,
      ...note,
    },
  ];
}
