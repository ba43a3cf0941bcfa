/** What a namespace may hold, beside what it holds now. */

import { Progress, ProgressMeasureLocation, Split, SplitItem, TextInput } from "@patternfly/react-core";
import { useId } from "react";

import type { Schemas } from "../../api/client";
import { Field } from "../../components/FormDialog";
import { bytes, bytesOf } from "../../components/quantities";
import type { Namespace } from "./calls";

export interface QuotaDraft {
  memory: string;
  cpu: string;
  gpus: string;
}

const MEMORY = /^\d+(\.\d+)?([KMGTP]i?)?B?$/;

export const quotaDraft = (quota?: Namespace["quota"]): QuotaDraft => ({
  memory: quota?.memory == null ? "" : String(quota.memory),
  cpu: quota?.cpu == null ? "" : String(quota.cpu),
  gpus: quota?.gpus == null ? "" : String(quota.gpus),
});

export const quotaOf = ({ memory, cpu, gpus }: QuotaDraft): Schemas["QuotaIn"] => ({
  memory: memory || null,
  cpu: cpu ? Number(cpu) : null,
  gpus: gpus ? Number(gpus) : null,
});

export function wrongInQuota({ memory, cpu, gpus }: QuotaDraft): Partial<Record<keyof QuotaDraft, string>> {
  return {
    ...(memory && !MEMORY.test(memory) ? { memory: "A size: 512Mi, 32Gi." } : {}),
    ...(cpu && !(Number(cpu) >= 0) ? { cpu: "A number of cores." } : {}),
    ...(gpus && !/^\d+$/.test(gpus) ? { gpus: "A whole number." } : {}),
  };
}

export const cores = (amount: number) => `${Math.round(amount * 100) / 100} ${amount === 1 ? "core" : "cores"}`;

interface FieldsProps {
  draft: QuotaDraft;
  write: (draft: QuotaDraft) => void;
  usage?: Namespace["usage"];
  said: (field: keyof QuotaDraft) => string | undefined;
}

export function QuotaFields({ draft, write, usage, said }: FieldsProps) {
  const id = useId();
  const field = (name: keyof QuotaDraft, label: string, example: string, used: string | undefined) => (
    <SplitItem isFilled>
      <Field label={label} id={`${id}-${name}`} wrong={said(name)} help={used ? `Held now: ${used}` : undefined}>
        <TextInput
          id={`${id}-${name}`}
          value={draft[name]}
          onChange={(_, value) => write({ ...draft, [name]: value.trim() })}
          placeholder={example}
          validated={said(name) ? "error" : "default"}
          autoComplete="off"
        />
      </Field>
    </SplitItem>
  );
  return (
    <Split hasGutter>
      {field("memory", "Memory", "no limit", usage && bytes(usage.memory))}
      {field("cpu", "Cores", "no limit", usage && String(usage.cpu))}
      {field("gpus", "GPUs", "no limit", usage && String(usage.gpus))}
    </Split>
  );
}

/** What is held of a quota, as bars; without one only what is held. */
export function QuotaBars({ quota, usage }: Pick<Namespace, "quota" | "usage">) {
  return (
    <div className="yard-bars">
      <Bar
        title="Memory"
        held={bytesOf(usage.memory)}
        of={quota.memory === null ? null : bytesOf(quota.memory)}
        words={bytes}
      />
      <Bar title="Cores" held={usage.cpu} of={quota.cpu} words={cores} />
      <Bar title="GPUs" held={usage.gpus} of={quota.gpus} words={String} />
    </div>
  );
}

interface BarProps {
  title: string;
  held: number;
  of: number | null;
  words: (amount: number) => string;
}

function Bar({ title, held, of, words }: BarProps) {
  if (of === null) {
    return (
      <div>
        {title} <span className="yard-quiet">{words(held)} held, no limit</span>
      </div>
    );
  }
  const share = of > 0 ? held / of : held > 0 ? 1 : 0;
  return (
    <Progress
      title={title}
      value={Math.min(100, share * 100)}
      label={`${words(held)} of ${words(of)}`}
      {...(share > 1 ? { variant: "danger" as const } : share > 0.9 ? { variant: "warning" as const } : {})}
      measureLocation={ProgressMeasureLocation.top}
      size="sm"
      aria-label={`${title} held of the quota`}
    />
  );
}

/** What is held above `draft` already: nothing of it stops, and nothing more starts. */
export function overshot({ memory, cpu, gpus }: QuotaDraft, usage: Namespace["usage"]): boolean {
  return (
    (memory !== "" && bytesOf(memory) < bytesOf(usage.memory)) ||
    (cpu !== "" && Number(cpu) < usage.cpu) ||
    (gpus !== "" && Number(gpus) < usage.gpus)
  );
}
