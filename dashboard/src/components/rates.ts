/** Rates, shares and latencies in few figures. */

/** Requests a second: "0", "0.25/s", "12.3/s", "1,240/s". */
export function perSecond(rate: number): string {
  if (rate === 0) return "0/s";
  const digits = rate < 1 ? 2 : rate < 100 ? 1 : 0;
  return `${rate.toLocaleString("en", { maximumFractionDigits: digits })}/s`;
}

/** Seconds as latencies are told: "0.4 ms", "12 ms", "1.3 s". */
export function latency(seconds: number): string {
  const ms = seconds * 1000;
  if (ms < 1000) return `${ms.toLocaleString("en", { maximumFractionDigits: ms < 10 ? 1 : 0 })} ms`;
  return `${seconds.toLocaleString("en", { maximumFractionDigits: 1 })} s`;
}

/** A share of one as per cent: "0 %", "0.4 %", "12 %". */
export function percent(share: number): string {
  const value = share * 100;
  return `${value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 })} %`;
}

/** A number of things, on average: "0.2", "12". */
export function amount(value: number): string {
  return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 2 : 0 });
}
