/** Which page is where. Addresses are in the fragment, so that the server knows two paths only: / and /assets. */

import { createHashRouter, Navigate } from "react-router";

import { Failed } from "../components/Failed";
import { Shell } from "./Shell";
import { SignIn } from "./SignIn";
import { Signed } from "./Signed";

export const router = createHashRouter([
  { path: "/sign-in", element: <SignIn />, errorElement: <Failed /> },
  {
    hydrateFallbackElement: <></>,
    element: (
      <Signed>
        <Shell />
      </Signed>
    ),
    errorElement: <Failed />,
    children: [
      {
        errorElement: <Failed />,
        children: [
          { path: "/", lazy: () => import("../pages/home/Home") },
          { path: "/models", lazy: () => import("../pages/models/Models") },
          { path: "/deploy", lazy: () => import("../pages/deploy/Deploy") },
          { path: "/models/:namespace/:name/update", lazy: () => import("../pages/update/Update") },
          { path: "/models/:namespace/:name/:tab?", lazy: () => import("../pages/model/ModelPage") },
          { path: "/registry", lazy: () => import("../pages/registry/Registry") },
          { path: "/registry/:namespace/:name", lazy: () => import("../pages/registry/RegisteredModel") },
          { path: "/registry/:namespace/:name/:version", lazy: () => import("../pages/registry/Version") },
          { path: "/playground", lazy: () => import("../pages/playground/Playground") },
          { path: "/schedules", lazy: () => import("../pages/schedules/Schedules") },
          { path: "/policies", lazy: () => import("../pages/policies/Policies") },
          { path: "/policies/new", lazy: () => import("../pages/policies/PolicyPage") },
          { path: "/policies/:scope/:policy", lazy: () => import("../pages/policies/PolicyPage") },
          { path: "/namespaces", lazy: () => import("../pages/namespaces/Namespaces") },
          { path: "/namespaces/:name/:tab?", lazy: () => import("../pages/namespaces/NamespacePage") },
          { path: "/access/:tab?", lazy: () => import("../pages/access/Access") },
          { path: "/alerts/:tab?", lazy: () => import("../pages/alerts/Alerts") },
          { path: "/audit", lazy: () => import("../pages/audit/Audit") },
          { path: "/settings/:tab?", lazy: () => import("../pages/settings/Settings") },
          { path: "*", element: <Navigate to="/" replace /> },
        ],
      },
    ],
  },
]);
