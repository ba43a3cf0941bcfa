/** The bundled samples, each one click away. */

import { Button, Flex, Card, CardBody, CardTitle } from "@patternfly/react-core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate } from "react-router";

import { api, ask } from "../../api/client";
import { ErrorAlert } from "../../components/Failed";
import { notify } from "../../components/notices";

export function Samples({ namespace }: { namespace: string }) {
  const navigate = useNavigate();
  const samples = useQuery({
    queryKey: ["samples"],
    queryFn: async () => (await ask(api.GET("/api/v1/samples"))).items,
    staleTime: Infinity,
  }).data;
  const deploying = useMutation({
    mutationFn: (name: string) =>
      ask(api.POST("/api/v1/namespaces/{namespace}/samples/{name}", { params: { path: { namespace, name } } })),
    onSuccess: (model) => {
      notify("info", `${model.name} is deployed`);
      navigate(`/models/${model.namespace}/${model.name}`);
    },
  });
  if (!samples?.length || !namespace) return null;
  return (
    <Card isCompact variant="secondary">
      <CardTitle component="h3">Nothing at hand? Begin with a bundled sample</CardTitle>
      <CardBody>
        {deploying.error && <ErrorAlert title="It was not deployed" error={deploying.error} />}
        <Flex columnGap={{ default: "columnGapLg" }} rowGap={{ default: "rowGapSm" }}>
          {samples.map(({ name, description }) => (
            <span key={name}>
              <Button
                variant="secondary"
                size="sm"
                onClick={() => deploying.mutate(name)}
                isDisabled={deploying.isPending}
                isLoading={deploying.isPending && deploying.variables === name}
              >
                Deploy {name}
              </Button>{" "}
              <span className="yard-quiet">{description}</span>
            </span>
          ))}
        </Flex>
        {deploying.isPending && (
          <p role="status" className="yard-quiet">
            The first time it is trained on the machine, which takes seconds.
          </p>
        )}
      </CardBody>
    </Card>
  );
}
