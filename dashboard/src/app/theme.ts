/** Light or dark: what the reader chose, else what the system says. */

import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";

const KEY = "modelyard.theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

let chosen: Theme = read();

function read(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
}

function apply() {
  document.documentElement.classList.toggle("pf-v6-theme-dark", isDark());
  listeners.forEach((tell) => tell());
}

export function isDark(): boolean {
  return chosen === "dark" || (chosen === "system" && system.matches);
}

export function chooseTheme(theme: Theme) {
  chosen = theme;
  if (theme === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, theme);
  apply();
}

export function startTheme() {
  system.addEventListener("change", apply);
  apply();
}

function subscribe(tell: () => void) {
  listeners.add(tell);
  return () => listeners.delete(tell);
}

export const useTheme = () => useSyncExternalStore(subscribe, () => chosen);
export const useIsDark = () => useSyncExternalStore(subscribe, isDark);
