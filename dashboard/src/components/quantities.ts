/** Sizes come as text ("512Mi", "1.5Gi") or bytes, and are shown with a space and a binary unit. */

const UNITS: Record<string, number> = { "": 1, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50 };

export function bytesOf(size: string | number | null | undefined): number {
  if (size === null || size === undefined) return 0;
  if (typeof size === "number") return size;
  const [, number, unit] = /^([\d.]+)\s*([KMGTP]i)?B?$/.exec(size) ?? [];
  return Number(number ?? 0) * (UNITS[unit ?? ""] ?? 1);
}

export function bytes(size: string | number | null | undefined): string {
  let value = bytesOf(size);
  for (const unit of ["B", "KiB", "MiB", "GiB", "TiB"]) {
    if (value < 1024 || unit === "TiB")
      return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1024;
  }
  return "";
}

/** "1 instance", "3 instances". */
export function many(count: number, word: string, plural = `${word}s`): string {
  return `${count} ${count === 1 ? word : plural}`;
}
