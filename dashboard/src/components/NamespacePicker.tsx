/** Which namespace the pages are about: chosen on one page, it holds for all. */

import { useNamespaces } from "../api/queries";
import { chooseNamespace, useNamespace } from "../app/namespace";
import { PickOne } from "./Pick";

export function NamespacePicker() {
  const namespaces = useNamespaces().data ?? [];
  return (
    <PickOne
      label="Namespace"
      value={useNamespace()}
      onPick={chooseNamespace}
      choices={[
        { value: "", words: "All namespaces" },
        ...namespaces.map(({ name }) => ({ value: name, words: name })),
      ]}
    />
  );
}
