/** The zones and countries that the browser knows by name; the server knows more, which may be there already. */

import type { Found } from "../PickBySearch";
import { ownZone } from "./rules";

/** The offset of now, as "UTC+01:00". */
function offsetOf(zone: string): string {
  try {
    const parts = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" }).formatToParts();
    return parts.find(({ type }) => type === "timeZoneName")?.value.replace("GMT", "UTC") ?? "";
  } catch {
    return "";
  }
}

/** The reader's own first, then UTC, then the world by name. */
export function zones(present: string): Found[] {
  const own = ownZone();
  const names = new Set([own, "UTC", ...(present ? [present] : []), ...Intl.supportedValuesOf("timeZone")]);
  return [...names].map((zone) => ({
    value: zone,
    words: zone === own ? `${zone} (here, ${offsetOf(zone)})` : zone,
  }));
}

const LETTERS = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
// Codes that have a name and are no country.
const NONE = new Set(["EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"]);

export function countries(): Found[] {
  const names = new Intl.DisplayNames(["en"], { type: "region", fallback: "none" });
  const codes = LETTERS.flatMap((first) => LETTERS.map((second) => first + second));
  const order = new Intl.Collator("en");
  const seen = new Set<string>();
  return codes
    .filter((code) => !NONE.has(code))
    .flatMap((code) => {
      const name = names.of(code);
      // Of a country's former code too the browser tells its name of today.
      if (!name || seen.has(name) || Intl.getCanonicalLocales(`und-${code}`)[0] !== `und-${code}`) return [];
      seen.add(name);
      return [{ value: code, words: `${name} (${code})` }];
    })
    .sort((a, b) => order.compare(a.words, b.words));
}
