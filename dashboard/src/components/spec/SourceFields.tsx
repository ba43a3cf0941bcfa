/** Where a model comes from: the registry, a file of the machine, or a server that its user brings. */

import { Alert, FormGroup, Grid, Radio, TextArea } from "@patternfly/react-core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";

import { allPages, api, ask } from "../../api/client";
import { PickBySearch } from "../PickBySearch";
import { Below, ChoiceField, FlagField, TextField, useField, WholeField } from "./Fields";
import { useForm } from "./form";
import type { Spec } from "./draft";

type Kind = "registry" | "file" | "command";

const KINDS: { kind: Kind; words: string; description: string }[] = [
  { kind: "registry", words: "The registry", description: "A version of a registered model, or what an alias means" },
  { kind: "file", words: "A file or folder", description: "On the machine that Modelyard runs on" },
  { kind: "command", words: "A server of your own", description: "Any command that answers over HTTP" },
];

const ENGINES = [
  { value: "", words: "Found out by the source" },
  { value: "onnx", words: "ONNX", description: "A file .onnx" },
  { value: "sklearn", words: "scikit-learn", description: "A file .skops" },
  { value: "python", words: "Python", description: "A folder with model.py" },
  { value: "mock", words: "Mock", description: "Set answers, without a model" },
];

const isFile = (source: string) => source.startsWith("/") || source.includes("://");

export function kindOf({ engine, source }: Spec): Kind {
  if (engine === "command") return "command";
  return source && !isFile(source) ? "registry" : "file";
}

export function SourceFields({ namespace, isNew }: { namespace: string; isNew?: boolean }) {
  const { spec, set } = useForm();
  const [kind, be] = useState<Kind>(() => (isNew && !spec.source && !spec.engine ? "registry" : kindOf(spec)));
  const become = (next: Kind) => {
    be(next);
    set(["source"], undefined);
    set(["engine"], next === "command" ? "command" : undefined);
    set(["options"], undefined);
    set(["follow"], undefined);
  };
  return (
    <>
      <FormGroup role="radiogroup" label="From" fieldId="spec-kind">
        {KINDS.map((one) => (
          <Radio
            key={one.kind}
            id={`spec-kind-${one.kind}`}
            name="spec-kind"
            label={one.words}
            description={one.description}
            isChecked={kind === one.kind}
            onChange={() => become(one.kind)}
          />
        ))}
      </FormGroup>
      {kind === "registry" ? <FromRegistry namespace={namespace} /> : kind === "file" ? <FromFile /> : <FromCommand />}
    </>
  );
}

function FromFile() {
  return (
    <>
      <TextField
        path="source"
        label="Path"
        placeholder="/models/digits.onnx"
        help="Absolute, as the machine has it; or file:///…"
        isRequired
      />
      <ChoiceField path="engine" label="Engine" usual="" choices={ENGINES} />
      <FlagField path="trusted" label="Trusted" help="You vouch for the code that loading it runs." />
    </>
  );
}

function FromCommand() {
  const { id, value, set, wrong } = useField("options.command");
  const [text, write] = useState(() => (Array.isArray(value) ? spelled(value.map(String)) : ""));
  return (
    <>
      <FormGroup label="Command" fieldId={id} isRequired>
        <TextArea
          id={id}
          rows={2}
          value={text}
          spellCheck={false}
          placeholder="vllm serve my-model --port {port}"
          aria-describedby={`${id}-help`}
          validated={wrong ? "error" : "default"}
          resizeOrientation="vertical"
          onChange={(_, typed) => {
            write(typed);
            const words = split(typed);
            set(words.length ? words : undefined);
          }}
        />
        <Below id={id} help="{port} becomes the port that it is to listen on. There is no shell." wrong={wrong} />
      </FormGroup>
      <Grid hasGutter sm={6}>
        <WholeField path="options.port" label="Fixed port" placeholder="Any that is free" />
        <TextField
          path="source"
          label="Weights"
          placeholder="None"
          help="A path or a registered version, if it has any."
        />
      </Grid>
    </>
  );
}

/** Words as a shell has them: blanks divide, quotes hold together. */
export function split(text: string): string[] {
  return [...text.matchAll(/(?:[^\s"']|"(?:[^"\\]|\\.)*"?|'[^']*'?)+/g)].map(([word]) =>
    word.replace(/"((?:[^"\\]|\\.)*)"?|'([^']*)'?/g, (_, double?: string, single?: string) =>
      double !== undefined ? double.replace(/\\(.)/g, "$1") : (single ?? ""),
    ),
  );
}

const spelled = (words: string[]) =>
  words.map((word) => (/^[^\s"'\\]+$/.test(word) ? word : `"${word.replace(/["\\]/g, "\\$&")}"`)).join(" ");

function useRegistered(namespace: string) {
  return useQuery({
    queryKey: ["registry", namespace, "names"],
    queryFn: () =>
      allPages((page_token) =>
        ask(
          api.GET("/api/v1/namespaces/{namespace}/registry/models", {
            params: { path: { namespace }, query: { page_size: 1000, page_token } },
          }),
        ),
      ),
  });
}

/** What one may mean by a registered model: aliases first, then versions. */
function useReferences(namespace: string, name: string) {
  return useQuery({
    queryKey: ["registry", namespace, name, "references"],
    enabled: name !== "",
    queryFn: async () => {
      const params = { path: { namespace, name } };
      const [aliases, versions] = await Promise.all([
        ask(api.GET("/api/v1/namespaces/{namespace}/registry/models/{name}/aliases", { params })),
        allPages((page_token) =>
          ask(
            api.GET("/api/v1/namespaces/{namespace}/registry/models/{name}/versions", {
              params: { ...params, query: { page_size: 200, page_token } },
            }),
          ),
        ),
      ]);
      return { aliases: aliases.items, versions: versions.filter((one) => !one.deleted_at) };
    },
  });
}

function FromRegistry({ namespace }: { namespace: string }) {
  const source = useField("source");
  const [name = "", meant = ""] = typeof source.value === "string" ? source.value.split("@", 2) : [];
  const models = useRegistered(namespace);
  const found = useReferences(namespace, name).data;
  const isMoving = meant !== "" && !found?.versions.some(({ version }) => version === meant);
  const choices = [
    { value: "latest", words: found?.versions[0] ? `latest (now ${found.versions[0].version})` : "latest" },
    ...(found?.aliases ?? [])
      .filter(({ alias }) => alias !== "latest")
      .map(({ alias, version }) => ({ value: alias, words: `${alias} (now ${version})` })),
    ...(found?.versions ?? []).map(({ version }) => ({ value: version, words: version })),
  ];
  if (models.data?.length === 0) {
    return (
      <Alert isInline variant="info" title={`Nothing is registered in namespace ${namespace} yet`} component="p">
        Bring a model in on the page <Link to="/registry">Registry</Link>, or by <code>modelyard push</code>.
      </Alert>
    );
  }
  return (
    <>
      <FormGroup label="Registered model" fieldId={source.id} isRequired>
        <PickBySearch
          id={source.id}
          label="Registered model"
          placeholder="Type a part of its name"
          choices={(models.data ?? []).map((one) => ({ value: one.name, words: one.name, also: one.description }))}
          value={name}
          isInvalid={Boolean(source.wrong)}
          onPick={(picked) => source.set(`${picked}@latest`)}
        />
        <Below id={source.id} wrong={source.wrong} />
      </FormGroup>
      {name && (
        <FormGroup label="Version or alias" fieldId="spec-version" isRequired>
          <PickBySearch
            id="spec-version"
            label="Version or alias"
            choices={choices}
            value={meant || "latest"}
            onPick={(picked) => source.set(`${name}@${picked}`)}
          />
          <Below
            id="spec-version"
            help="An alias means the version that it has when it is deployed."
            wrong={undefined}
          />
        </FormGroup>
      )}
      {isMoving && (
        <ChoiceField
          path="follow"
          label={`Once ${meant} means another version`}
          usual="offer"
          choices={[
            { value: "offer", words: "Say so" },
            { value: "auto", words: "Roll to it" },
          ]}
        />
      )}
    </>
  );
}
