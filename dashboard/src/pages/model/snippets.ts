/** How a model is called, in the languages that its callers speak; a place is left for the key. */

export const LANGUAGES = ["curl", "Python", "TypeScript"] as const;
export type Language = (typeof LANGUAGES)[number];

export interface Call {
  /** With scheme and host. */
  url: string;
  body: unknown;
  isPublic: boolean;
  /** The answer comes as server-sent events. */
  isStream?: boolean;
}

export function snippet(language: Language, { url, body, isPublic, isStream = false }: Call): string {
  switch (language) {
    case "curl": {
      const json = JSON.stringify(body).replaceAll("'", "'\\''");
      const key = isPublic ? "" : ` \\\n  -H "Authorization: Bearer $MODELYARD_TOKEN"`;
      return `curl ${isStream ? "-sN" : "-s"} ${url}${key} \\\n  -H "Content-Type: application/json" \\\n  --data '${json}'`;
    }
    case "Python": {
      const key = isPublic ? "" : `\n    headers={"Authorization": f"Bearer {os.environ['MODELYARD_TOKEN']}"},`;
      const literal = python(body);
      return `${isPublic ? "" : "import os\n\n"}import requests\n\nanswer = requests.post(\n    "${url}",${key}\n    json=${literal},\n    timeout=30,${isStream ? "\n    stream=True," : ""}\n)\nanswer.raise_for_status()\n${isStream ? PYTHON_STREAM : 'print(answer.json()["outputs"])'}`;
    }
    case "TypeScript": {
      const key = isPublic ? "" : `\n    Authorization: \`Bearer \${process.env.MODELYARD_TOKEN}\`,`;
      return `const answer = await fetch("${url}", {\n  method: "POST",\n  headers: {\n    "Content-Type": "application/json",${key}\n  },\n  body: JSON.stringify(${JSON.stringify(body)}),\n});\nif (!answer.ok) throw new Error(await answer.text());\n${isStream ? TYPESCRIPT_STREAM : "console.log((await answer.json()).outputs);"}`;
    }
  }
}

const PYTHON_STREAM = "for line in answer.iter_lines(decode_unicode=True):\n    print(line)";
const TYPESCRIPT_STREAM =
  "for await (const piece of answer.body!.pipeThrough(new TextDecoderStream())) process.stdout.write(piece);";

/** A JSON value as a Python literal. */
function python(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value)
      .map(([key, item]) => `${JSON.stringify(key)}: ${python(item)}`)
      .join(", ")}}`;
  }
  return JSON.stringify(value);
}
