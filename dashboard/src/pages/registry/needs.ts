/** Who may change what is registered. */

import { useMay } from "../../app/permissions";
import type { Place } from "./queries";

/** What one lacks for it, in words; null: nothing. */
export function useNeedsEdit({ namespace, name }: Place): string | null {
  const may = useMay()("edit", namespace, name);
  return may ? null : `Needs the role editor in namespace ${namespace}.`;
}
