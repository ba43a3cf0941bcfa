/** The installation itself: what it is, what belongs to nothing any more, its store and its cache. */

import { useQuery } from "@tanstack/react-query";

import { api, ask, type Schemas } from "../../api/client";
import { queryClient } from "../../api/queries";

export type Finding = Schemas["Finding"];
export type Installation = Schemas["Installation"];

const INSTALLATION = ["installation"] as const;
const DOCTOR = ["doctor"] as const;
const CACHE = ["registry-cache"] as const;

export function useInstallation() {
  return useQuery({ queryKey: INSTALLATION, queryFn: () => ask(api.GET("/api/v1/installation")) });
}

export function useFindings() {
  return useQuery({ queryKey: DOCTOR, queryFn: async () => (await ask(api.GET("/api/v1/doctor"))).items });
}

export async function clear(findings: Finding[]): Promise<Schemas["Cleared"][]> {
  const items = findings.map(({ kind, id }) => ({ kind, id }));
  return (await ask(api.POST("/api/v1/doctor", { body: { items } }))).items;
}

export const askDoctorAgain = () => queryClient.invalidateQueries({ queryKey: DOCTOR });

export function useStore() {
  return useQuery({ queryKey: ["registry-store"], queryFn: () => ask(api.GET("/api/v1/registry/store")) });
}

export function useCache() {
  return useQuery({ queryKey: CACHE, queryFn: () => ask(api.GET("/api/v1/registry/cache")) });
}

/** `size` "" keeps to the limit that is set. */
export const cleanUp = (size: string, dry_run: boolean) =>
  ask(api.POST("/api/v1/registry/cleanup", { params: { query: { dry_run, ...(size ? { max_size: size } : {}) } } }));

export const collect = (dry_run: boolean) => ask(api.POST("/api/v1/registry/gc", { params: { query: { dry_run } } }));

export const askCacheAgain = () => queryClient.invalidateQueries({ queryKey: CACHE });
