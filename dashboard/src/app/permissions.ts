/** What the one who is signed in may do, by its grants; the server decides in the end. */

import { useMemo } from "react";

import type { Schemas } from "../api/client";
import { useMe } from "../api/queries";

type Me = Schemas["Me"];
export type Permission = Schemas["Grant"]["permissions"][number];

const EVERYWHERE = "*";

/** A pattern of names as in shells, of letters, digits, hyphens, * and ?. */
export function matches(pattern: string, name: string): boolean {
  const expression = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replace(/\*/g, ".*")
    .replace(/\?/g, ".");
  return new RegExp(`^${expression}$`).test(name);
}

export function allows(me: Me, permission: Permission, namespace: string, model?: string): boolean {
  if (permission === "oversee") return me.oversees;
  return me.grants.some(
    (grant) =>
      (grant.namespace === EVERYWHERE || grant.namespace === namespace) &&
      grant.permissions.includes(permission) &&
      (grant.models.length === 0 || (model !== undefined && grant.models.some((pattern) => matches(pattern, model)))),
  );
}

/** `may("operate", namespace, model)`; nothing while it is not known who asks. */
export function useMay() {
  const me = useMe().data;
  return useMemo(
    () => (permission: Permission, namespace: string, model?: string) =>
      me !== undefined && allows(me, permission, namespace, model),
    [me],
  );
}

/** Whether it may anywhere at all. */
export function anywhere(me: Me, permission: Permission): boolean {
  return permission === "oversee" ? me.oversees : me.grants.some((grant) => grant.permissions.includes(permission));
}
