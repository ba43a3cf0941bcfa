/** What one does with registered models, versions and aliases. */

import { api, ask } from "../../api/client";
import { askAgain, type Place } from "./queries";

export interface Move {
  alias: string;
  version: string;
  /** Where it pointed when one looked; null: nowhere. Anywhere else and the move is refused. */
  expected: string | null;
  reason: string;
  force: boolean;
}

export async function moveAlias(place: Place, { alias, ...body }: Move) {
  await ask(
    api.PUT("/api/v1/namespaces/{namespace}/registry/models/{name}/aliases/{alias}", {
      params: { path: { ...place, alias } },
      body,
    }),
  );
  await askAgain(place);
}

export async function rollBackAlias(place: Place, alias: string, reason: string) {
  const moved = await ask(
    api.POST("/api/v1/namespaces/{namespace}/registry/models/{name}/aliases/{alias}/rollback", {
      params: { path: { ...place, alias } },
      body: { reason },
    }),
  );
  await askAgain(place);
  return moved;
}

/** A version, or without one the model with all its versions. */
export async function remove(place: Place, version: string, reason: string) {
  if (version) {
    await ask(
      api.DELETE("/api/v1/namespaces/{namespace}/registry/models/{name}/versions/{version}", {
        params: { path: { ...place, version }, query: { reason } },
      }),
    );
  } else {
    await ask(
      api.DELETE("/api/v1/namespaces/{namespace}/registry/models/{name}", {
        params: { path: place, query: { reason } },
      }),
    );
  }
  await askAgain(place);
}

export async function restore(place: Place, version: string) {
  if (version) {
    await ask(
      api.POST("/api/v1/namespaces/{namespace}/registry/models/{name}/versions/{version}/restore", {
        params: { path: { ...place, version } },
      }),
    );
  } else {
    await ask(api.POST("/api/v1/namespaces/{namespace}/registry/models/{name}/restore", { params: { path: place } }));
  }
  await askAgain(place);
}
