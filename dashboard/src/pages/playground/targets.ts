/** Whom a request goes to: a model, and one of its revisions or whichever its traffic is sent to. */

import type { Model } from "../../api/queries";

export interface Target {
  model: Model;
  /** "" for whichever its traffic goes to. */
  revision: string;
}

export const idOf = ({ namespace, name }: Pick<Model, "namespace" | "name">) => `${namespace}/${name}`;

/** As in the address: namespace/name, with .revision after it where one is named. Names have no full stops. */
export function written({ model, revision }: Target): string {
  return idOf(model) + (revision ? `.${revision}` : "");
}

export function targetOf(text: string, models: Model[]): Target | null {
  const [id = "", revision = ""] = text.split(".");
  const model = models.find((one) => idOf(one) === id);
  return model ? { model, revision } : null;
}

export function wordsOf({ model, revision }: Target): string {
  return model.name + (revision ? `, revision ${revision}` : "");
}

/** Whether it answers in pieces of text. */
export function chats({ spec }: Model): boolean {
  return spec.type === "textgen" || Boolean(spec.features?.streaming);
}
