/** The navigation, in the order of what one comes for. */

import type { ComponentType } from "react";

import type { Schemas } from "../api/client";
import { FiringBadge } from "../pages/alerts/FiringBadge";
import { anywhere } from "./permissions";

type Me = Schemas["Me"];

interface Section {
  title?: string;
  pages: { path: string; words: string; needs?: (me: Me) => boolean; badge?: ComponentType }[];
}

export const SECTIONS: Section[] = [
  {
    pages: [
      { path: "/", words: "Home" },
      { path: "/models", words: "Models" },
      { path: "/registry", words: "Registry" },
      { path: "/playground", words: "Playground" },
      { path: "/schedules", words: "Schedules" },
      { path: "/policies", words: "Policies" },
    ],
  },
  {
    title: "Administration",
    pages: [
      {
        path: "/alerts",
        words: "Alerts",
        needs: (me) => anywhere(me, "operate") || anywhere(me, "administer"),
        badge: FiringBadge,
      },
      { path: "/namespaces", words: "Namespaces", needs: (me) => anywhere(me, "administer") },
      { path: "/access", words: "Access", needs: (me) => me.oversees },
      { path: "/audit", words: "Audit", needs: (me) => anywhere(me, "administer") },
      { path: "/settings", words: "Settings", needs: (me) => me.oversees },
    ],
  },
];
