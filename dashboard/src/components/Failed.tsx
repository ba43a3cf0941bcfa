/** What went wrong, what to do about it, and the id under which the server's log has it. */

import {
  Alert,
  Button,
  Content,
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
} from "@patternfly/react-core";
import { ExclamationCircleIcon } from "@patternfly/react-icons";
import { useEffect, useRef } from "react";
import { useRouteError } from "react-router";

import { ApiError } from "../api/client";
import { useConnection } from "../api/connection";

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A refusal within a page or a dialog. */
export function ErrorAlert({ error, title }: { error: unknown; title: string }) {
  const api = error instanceof ApiError ? error : null;
  return (
    <Alert variant="danger" isInline title={title} role="alert" component="p">
      <p>{messageOf(error)}</p>
      {api && api.fields.length > 0 && (
        <Content component="ul">
          {api.fields.map(({ path, message }) => (
            <li key={path + message}>
              {path && <code>{path}</code>} {message}
            </li>
          ))}
        </Content>
      )}
      {api?.requestId && <RequestId id={api.requestId} />}
    </Alert>
  );
}

function RequestId({ id }: { id: string }) {
  return (
    <p className="yard-quiet">
      Request <code>{id}</code>
    </p>
  );
}

// As Chromium, Firefox and Safari put it.
const NOT_LOADED = /dynamically imported module|importing a module script/i;

/** A page's code that did not come: the server is away, or another version of it is there now. */
const isNotLoaded = (error: unknown) => error instanceof TypeError && NOT_LOADED.test(error.message);

/** Loads all anew once changes are followed again. */
function useReloadOnceBack(isOn: boolean) {
  const connection = useConnection();
  const wasLost = useRef(false);
  useEffect(() => {
    wasLost.current ||= connection === "polling";
    if (isOn && wasLost.current && connection === "live") window.location.reload();
  }, [isOn, connection]);
}

/** In place of a page that could not be shown. */
export function Failed({ error, retry }: { error?: unknown; retry?: () => void }) {
  const routed = useRouteError();
  const shown = error ?? routed;
  const api = shown instanceof ApiError ? shown : null;
  const notLoaded = isNotLoaded(shown);
  useReloadOnceBack(notLoaded);
  return (
    <EmptyState
      status="danger"
      icon={ExclamationCircleIcon}
      titleText={api?.status === 404 ? "Not here" : "This could not be shown"}
    >
      <EmptyStateBody>
        {notLoaded
          ? "The server is away, or has been updated since this page was opened. Once it is back, the page is loaded anew."
          : messageOf(shown)}
        {api?.requestId && <RequestId id={api.requestId} />}
      </EmptyStateBody>
      <EmptyStateFooter>
        <EmptyStateActions>
          <Button variant="primary" onClick={retry ?? (() => window.location.reload())}>
            Try again
          </Button>
        </EmptyStateActions>
      </EmptyStateFooter>
    </EmptyState>
  );
}
