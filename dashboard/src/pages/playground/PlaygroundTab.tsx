/** The playground of one model, as a tab of its page. */

import { useState } from "react";

import { useModels, type Model } from "../../api/queries";
import { targetOf } from "./targets";
import { Tryout } from "./Tryout";

export default function PlaygroundTab({ model }: { model: Model }) {
  const models = useModels().data ?? [];
  const [revision, setRevision] = useState("");
  const [beside, setBeside] = useState("");
  return (
    <Tryout
      target={{ model, revision }}
      beside={targetOf(beside, models)}
      models={models}
      change={(change) => {
        if (change.revision !== undefined) setRevision(change.revision);
        if (change.beside !== undefined) setBeside(change.beside);
      }}
    />
  );
}
