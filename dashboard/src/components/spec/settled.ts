/** What is typed, once nobody has typed on for a moment. */

import { useEffect, useState } from "react";

export function useSettled<T>(value: T, milliseconds = 300): T {
  const [settled, settle] = useState(value);
  useEffect(() => {
    const timer = window.setTimeout(() => settle(value), milliseconds);
    return () => window.clearTimeout(timer);
  }, [value, milliseconds]);
  return settled;
}
