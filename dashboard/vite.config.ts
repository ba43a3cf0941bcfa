import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// While developing, the API is that of a running Modelyard.
const yard = process.env.MODELYARD_URL ?? "http://127.0.0.1:8900";

// PatternFly's styles come for five themes at once; two of them are worn here.
const UNWORN = /\.pf-v6-theme-(felt|glass|high-contrast)/;
const withoutUnwornThemes = {
  postcssPlugin: "without-unworn-themes",
  Rule(rule: { selectors: string[]; remove: () => void }) {
    const worn = rule.selectors.filter((selector) => !UNWORN.test(selector) || selector.includes(":not("));
    if (worn.length === 0) rule.remove();
    else if (worn.length < rule.selectors.length) rule.selectors = worn;
  },
};

export default defineConfig({
  plugins: [react()],
  css: { postcss: { plugins: [withoutUnwornThemes] } },
  base: "./",
  // Into the package: what is installed serves it.
  build: {
    outDir: "../src/modelyard/dashboard",
    emptyOutDir: true,
    target: "es2022",
    chunkSizeWarningLimit: 900,
  },
  server: { proxy: { "/api": yard, "/v2": yard, "/v1": yard, "/health": yard } },
});
