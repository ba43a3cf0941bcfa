/** Which rule of which policy holds for one model, and what the others yield to. */

import { FormGroup } from "@patternfly/react-core";
import { useId, useState } from "react";

import { useModels, type Model } from "../../api/queries";
import { ErrorAlert } from "../../components/Failed";
import { PickBySearch } from "../../components/PickBySearch";
import { LoadingRows } from "../../components/Rows";
import { useRulings } from "./data";
import { RulingTable, Stops } from "./Rulings";

export function Explain() {
  const id = useId();
  const models = useModels().data ?? [];
  const [picked, pick] = useState("");
  const model = models.find(({ uid }) => uid === picked);
  return (
    <>
      <FormGroup label="Model" fieldId={id} className="yard-narrow">
        <PickBySearch
          id={id}
          label="Model"
          placeholder="Choose a model"
          value={picked}
          choices={models.map(({ uid, namespace, name }) => ({ value: uid, words: `${namespace}/${name}` }))}
          onPick={pick}
        />
      </FormGroup>
      <div role="status">{model && <Of model={model} />}</div>
    </>
  );
}

function Of({ model }: { model: Model }) {
  const found = useRulings(model);
  if (found.error) return <ErrorAlert title="What holds for it is not known" error={found.error} />;
  if (!found.data) return <LoadingRows rows={2} words="Asking what holds for it" />;
  if (found.data.rulings.length === 0) return <p className="yard-explained">No policy is for {model.name}.</p>;
  return (
    <div className="yard-explained">
      <Stops of={found.data} />
      <RulingTable rulings={found.data.rulings} label={`What holds for ${model.name}`} />
    </div>
  );
}
