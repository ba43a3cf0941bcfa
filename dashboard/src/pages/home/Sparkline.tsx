/** A line of the size of a word: how something went, without numbers. */

const WIDTH = 160;
const HEIGHT = 40;

export function Sparkline({
  values,
  label,
  isDanger,
}: {
  values: (number | null)[];
  label: string;
  isDanger: boolean;
}) {
  const most = Math.max(0, ...values.map((value) => value ?? 0));
  const x = (at: number) => (at / Math.max(values.length - 1, 1)) * WIDTH;
  // A pixel is left for the line's own width.
  const y = (value: number) => HEIGHT - 1 - (most > 0 ? value / most : 0) * (HEIGHT - 2);
  let isOpen = false;
  const path = values
    .map((value, at) => {
      if (value === null) {
        isOpen = false;
        return "";
      }
      const move = isOpen ? "L" : "M";
      isOpen = true;
      // The dot of a lone point is the end of a line of no length.
      return `${move}${x(at).toFixed(1)} ${y(value).toFixed(1)}${move === "M" ? "h0" : ""}`;
    })
    .join("");
  return (
    <svg
      className={isDanger ? "yard-spark yard-spark--danger" : "yard-spark"}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      <path d={path} />
    </svg>
  );
}
