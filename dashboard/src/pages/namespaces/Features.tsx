/** Which features the models of a namespace may use. */

import { Card, CardBody, CardHeader, CardTitle, Switch } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId } from "react";

import { ErrorAlert } from "../../components/Failed";
import { askNamespacesAgain, patchNamespace, type Namespace } from "./calls";

const FLAGS = [
  {
    name: "python",
    words: "Python",
    about: "Code of users runs, as the server's own user: for editors whom you would give a shell.",
  },
  { name: "command", words: "Commands", about: "Programs that users name run on the server, likewise." },
  { name: "files", words: "Files of the server", about: "A model may be made of any file that it can read." },
  { name: "public", words: "Public models", about: "They answer without a token." },
];

export function Features({ namespace, mayChange }: { namespace: Namespace; mayChange: boolean }) {
  const id = useId();
  const patching = useMutation({
    mutationFn: (features: Record<string, boolean | string>) => patchNamespace(namespace.name, { features }),
    onSettled: () => askNamespacesAgain(),
  });
  const { features } = namespace;
  const backends = String(features.backends ?? "");
  return (
    <Card isFullHeight>
      <CardHeader>
        <CardTitle component="h2">Features</CardTitle>
      </CardHeader>
      <CardBody>
        {patching.error && <ErrorAlert title="It was not changed" error={patching.error} />}
        <div className="yard-bars">
          {FLAGS.map(({ name, words, about }) => (
            <div key={name}>
              <Switch
                id={`${id}-${name}`}
                label={words}
                isChecked={features[name] !== false}
                isDisabled={!mayChange || patching.isPending}
                onChange={(_, on) => patching.mutate({ [name]: on })}
              />
              <div className="yard-quiet">{about}</div>
            </div>
          ))}
          <p className="yard-quiet">{backends ? `Backends: ${backends} only.` : "All backends."}</p>
          <p className="yard-quiet">Checked when a model is deployed, changed and started. What runs goes on.</p>
        </div>
      </CardBody>
    </Card>
  );
}
