/** What fires, and the rules and webhooks of one namespace or (scope "") of the installation. */

import { keepPreviousData, useQuery } from "@tanstack/react-query";

import { allPages, api, ask, type Schemas } from "../../api/client";
import { queryClient } from "../../api/queries";

export type Alert = Schemas["Alert"];
export type AlertRule = Schemas["AlertRule"];
export type AlertKind = Schemas["AlertKind"];
export type Severity = Schemas["Severity"];
export type Webhook = Schemas["Webhook"];
export type WebhookSet = Schemas["WebhookSet"];
export type Delivery = Schemas["Delivery"];

// Of what is over nobody reads further back here; the list of one model goes on.
const ENDED = 50;

export const keys = {
  alerts: ["alerts"] as const,
  rules: (scope: string) => ["alert-rules", scope] as const,
  webhooks: (scope: string) => ["webhooks", scope] as const,
  deliveries: (scope: string, webhook: string) => ["webhooks", scope, "deliveries", webhook] as const,
  deadLetters: (scope: string) => ["webhooks", scope, "dead-letters"] as const,
};

export function useFiring() {
  return useQuery({
    queryKey: [...keys.alerts, "firing"],
    queryFn: () =>
      allPages((token) =>
        ask(api.GET("/api/v1/alerts", { params: { query: { state: "firing", page_size: 500, page_token: token } } })),
      ),
  });
}

export function useEnded() {
  return useQuery({
    queryKey: [...keys.alerts, "ended"],
    queryFn: async () =>
      (await ask(api.GET("/api/v1/alerts", { params: { query: { state: "resolved", page_size: ENDED } } }))).items,
  });
}

export const silence = (fingerprint: string, until: string, reason: string) =>
  ask(api.PUT("/api/v1/alerts/{fingerprint}/silence", { params: { path: { fingerprint } }, body: { until, reason } }));

export async function endSilence(fingerprint: string): Promise<void> {
  await ask(api.DELETE("/api/v1/alerts/{fingerprint}/silence", { params: { path: { fingerprint } } }));
}

export const askAlertsAgain = () => queryClient.invalidateQueries({ queryKey: keys.alerts });

// ------------------------------------------------------------------------------------------- rules

export function useRules(scope: string) {
  return useQuery({
    queryKey: keys.rules(scope),
    queryFn: async () =>
      (
        await ask(
          scope
            ? api.GET("/api/v1/namespaces/{namespace}/alert-rules", { params: { path: { namespace: scope } } })
            : api.GET("/api/v1/alert-rules"),
        )
      ).items,
  });
}

/** What was read of one that is set already; its version keeps two people from writing over each other. */
const matching = (version: number | undefined) => (version ? { header: { "if-match": `"${version}"` } } : {});

export function putRule(scope: string, rule: string, body: Schemas["SetAlertRule"], version?: number) {
  const params = matching(version);
  return ask(
    scope
      ? api.PUT("/api/v1/namespaces/{namespace}/alert-rules/{rule}", {
          params: { ...params, path: { namespace: scope, rule } },
          body,
        })
      : api.PUT("/api/v1/alert-rules/{rule}", { params: { ...params, path: { rule } }, body }),
  );
}

export async function deleteRule(scope: string, { name: rule, version }: AlertRule): Promise<void> {
  const params = matching(version);
  await ask(
    scope
      ? api.DELETE("/api/v1/namespaces/{namespace}/alert-rules/{rule}", {
          params: { ...params, path: { namespace: scope, rule } },
        })
      : api.DELETE("/api/v1/alert-rules/{rule}", { params: { ...params, path: { rule } } }),
  );
}

export const askRulesAgain = async (scope: string) => {
  await queryClient.invalidateQueries({ queryKey: keys.rules(scope) });
  await askAlertsAgain();
};

// ------------------------------------------------------------------------------------------- webhooks

export function useWebhooks(scope: string) {
  return useQuery({
    queryKey: keys.webhooks(scope),
    queryFn: async () =>
      (
        await ask(
          scope
            ? api.GET("/api/v1/namespaces/{namespace}/webhooks", { params: { path: { namespace: scope } } })
            : api.GET("/api/v1/webhooks"),
        )
      ).items,
  });
}

export function putWebhook(scope: string, webhook: string, body: Schemas["SetWebhook"], version?: number) {
  const params = matching(version);
  return ask(
    scope
      ? api.PUT("/api/v1/namespaces/{namespace}/webhooks/{webhook}", {
          params: { ...params, path: { namespace: scope, webhook } },
          body,
        })
      : api.PUT("/api/v1/webhooks/{webhook}", { params: { ...params, path: { webhook } }, body }),
  );
}

export async function deleteWebhook(scope: string, { name: webhook, version }: Webhook): Promise<void> {
  const params = matching(version);
  await ask(
    scope
      ? api.DELETE("/api/v1/namespaces/{namespace}/webhooks/{webhook}", {
          params: { ...params, path: { namespace: scope, webhook } },
        })
      : api.DELETE("/api/v1/webhooks/{webhook}", { params: { ...params, path: { webhook } } }),
  );
}

export const testWebhook = (scope: string, webhook: string): Promise<Delivery> =>
  ask(
    scope
      ? api.POST("/api/v1/namespaces/{namespace}/webhooks/{webhook}/test", {
          params: { path: { namespace: scope, webhook } },
        })
      : api.POST("/api/v1/webhooks/{webhook}/test", { params: { path: { webhook } } }),
  );

export function useDeliveries(scope: string, webhook: string, token: string) {
  const query = { page_size: 20, page_token: token };
  return useQuery({
    queryKey: [...keys.deliveries(scope, webhook), token],
    placeholderData: keepPreviousData,
    queryFn: () =>
      ask(
        scope
          ? api.GET("/api/v1/namespaces/{namespace}/webhooks/{webhook}/deliveries", {
              params: { path: { namespace: scope, webhook }, query },
            })
          : api.GET("/api/v1/webhooks/{webhook}/deliveries", { params: { path: { webhook }, query } }),
      ),
  });
}

export function useDeadLetters(scope: string) {
  const query = { page_size: 100 };
  return useQuery({
    queryKey: keys.deadLetters(scope),
    queryFn: () =>
      ask(
        scope
          ? api.GET("/api/v1/namespaces/{namespace}/dead-letters", { params: { path: { namespace: scope }, query } })
          : api.GET("/api/v1/dead-letters", { params: { query } }),
      ),
  });
}

export const retryLetter = (scope: string, delivery: string): Promise<Delivery> =>
  ask(
    scope
      ? api.POST("/api/v1/namespaces/{namespace}/dead-letters/{delivery}/retry", {
          params: { path: { namespace: scope, delivery } },
        })
      : api.POST("/api/v1/dead-letters/{delivery}/retry", { params: { path: { delivery } } }),
  );

export async function dropLetter(scope: string, delivery: string): Promise<void> {
  await ask(
    scope
      ? api.DELETE("/api/v1/namespaces/{namespace}/dead-letters/{delivery}", {
          params: { path: { namespace: scope, delivery } },
        })
      : api.DELETE("/api/v1/dead-letters/{delivery}", { params: { path: { delivery } } }),
  );
}

export const askWebhooksAgain = (scope: string) => queryClient.invalidateQueries({ queryKey: keys.webhooks(scope) });
