/** Shows what is inside to those who are signed in, and everyone else the way to sign in. */

import { Bullseye, Spinner } from "@patternfly/react-core";
import type { ReactNode } from "react";
import { Navigate, useLocation } from "react-router";

import { Failed } from "../components/Failed";
import { useSession } from "./session";

export function Signed({ children }: { children: ReactNode }) {
  const session = useSession();
  const { pathname, search } = useLocation();
  if (session.data) {
    if (session.data.signed_in) return children;
    return <Navigate to={`/sign-in?to=${encodeURIComponent(pathname + search)}`} replace />;
  }
  if (session.error) return <Failed error={session.error} retry={() => void session.refetch()} />;
  return (
    <Bullseye>
      <Spinner aria-label="Loading" />
    </Bullseye>
  );
}
