/** A request that a model understands: from its own metadata while it serves, else of one number. */

import { useQuery } from "@tanstack/react-query";

import type { Model } from "../../api/queries";

export interface Tensor {
  name: string;
  datatype: string;
  shape: number[];
}

interface Metadata {
  inputs?: Tensor[];
  outputs?: Tensor[];
}

/** What a model takes and gives, as it says itself (Open Inference Protocol); none while it does not serve. */
export function useMetadata(model: Model) {
  const path = model.status.endpoints.metadata;
  return useQuery({
    queryKey: ["model", model.namespace, model.name, "metadata", model.status.serving_generation],
    enabled: Boolean(path) && model.status.instances_ready > 0,
    staleTime: Infinity,
    queryFn: async (): Promise<Metadata> => {
      const answer = await fetch(path ?? "");
      return answer.ok ? ((await answer.json()) as Metadata) : {};
    },
  }).data;
}

/** A size that is left open is 1. */
export function sizesOf({ shape }: Tensor): number[] {
  return shape.map((size) => (size > 0 ? size : 1));
}

export function emptyData(tensor: Tensor): unknown[] {
  const count = sizesOf(tensor).reduce((product, size) => product * size, 1);
  const blank = tensor.datatype === "BYTES" ? "" : tensor.datatype === "BOOL" ? false : 0;
  return Array.from({ length: count }, () => blank);
}

export function useSampleRequest(model: Model): unknown {
  const inputs = useMetadata(model)?.inputs ?? [{ name: "input", datatype: "FP32", shape: [1, 1] }];
  return {
    inputs: inputs.map((tensor) => ({
      name: tensor.name,
      shape: sizesOf(tensor),
      datatype: tensor.datatype,
      data: emptyData(tensor),
    })),
  };
}
