/** Which served models are made of a registered one, and what they do once an alias points elsewhere. */

import type { Model } from "../../api/queries";
import type { Place } from "./queries";

/** What is after the @ of a source that names the registered model; a name alone means latest. */
export function pickOf(source: string | null | undefined, name: string): string | null {
  if (source === name) return "latest";
  return source?.startsWith(`${name}@`) ? source.slice(name.length + 1) : null;
}

export function servedOf(models: Model[], { namespace, name }: Place): Model[] {
  return models.filter((model) => model.namespace === namespace && pickOf(model.spec.source, name) !== null);
}

export interface Following {
  model: Model;
  /** What becomes of it. */
  words: string;
  isRolled: boolean;
}

/** What a move of an alias to `version` does to the models that name it. */
export function following(models: Model[], place: Place, alias: string, version: string): Following[] {
  return servedOf(models, place)
    .filter((model) => pickOf(model.spec.source, place.name) === alias)
    .map((model) => {
      const now = model.status.artifact?.version;
      if (now === version) return { model, words: `serves ${version} already`, isRolled: false };
      if (model.spec.follow === "auto") {
        return { model, words: `follows by itself: ${now ?? "nothing"} → ${version}`, isRolled: true };
      }
      return { model, words: `goes on with ${now ?? "what it has"}; ${version} is offered to it`, isRolled: false };
    });
}
