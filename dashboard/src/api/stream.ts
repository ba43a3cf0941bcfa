/** One of the server's streams beside that of all changes: followed while it is looked at, and again once it was cut. */

import { useEffect, useRef } from "react";

// Milliseconds until a stream that the server has refused is tried again.
const AGAIN = 5_000;

interface Heard {
  onMessage: (data: string) => void;
  /** It begins, or begins anew: what it has told before comes again. */
  onOpen?: () => void;
}

/** Follows `url` while the page can be seen; null: nothing is followed. */
export function useStream(url: string | null, event: string, heard: Heard) {
  const latest = useRef(heard);
  useEffect(() => {
    latest.current = heard;
  });
  useEffect(() => {
    if (!url) return;
    let source: EventSource | null = null;
    let again = 0;
    const close = () => {
      source?.close();
      source = null;
      window.clearTimeout(again);
    };
    const open = () => {
      if (source || document.hidden) return;
      const opened = (source = new EventSource(url));
      opened.addEventListener("open", () => latest.current.onOpen?.());
      opened.addEventListener(event, (message: MessageEvent<string>) => latest.current.onMessage(message.data));
      opened.addEventListener("error", () => {
        // The browser tries again by itself, unless the server has said no.
        if (opened.readyState !== EventSource.CLOSED || source !== opened) return;
        source = null;
        again = window.setTimeout(open, AGAIN);
      });
    };
    const look = () => (document.hidden ? close() : open());
    document.addEventListener("visibilitychange", look);
    open();
    return () => {
      document.removeEventListener("visibilitychange", look);
      close();
    };
  }, [url, event]);
}
