/** The lines of a model's instances as they are written. */

import { useEffect, useRef, useState } from "react";

import type { Schemas } from "../../../api/client";
import type { Model } from "../../../api/queries";
import { useStream } from "../../../api/stream";
import { added, type Line } from "./lines";

type Told = Schemas["LogLine"];

// So many of the last lines to begin with; those of ended instances are among them.
const TAIL = 1_000;
// Lines of so many milliseconds are drawn together.
const TOGETHER = 150;

/** Null until the log has begun. `forget` empties what is shown. */
export function useLog({ namespace, name }: Model, isFollowing: boolean) {
  const [lines, become] = useState<Line[] | null>(null);
  const fresh = useRef<Told[]>([]);
  const anew = useRef(false);
  const timer = useRef(0);
  useEffect(() => () => window.clearTimeout(timer.current), []);

  const flush = () => {
    timer.current = 0;
    const [told, begins] = [fresh.current, anew.current];
    fresh.current = [];
    anew.current = false;
    become((before) => added(begins || before === null ? [] : before, told));
  };
  const soon = () => {
    if (!timer.current) timer.current = window.setTimeout(flush, TOGETHER);
  };
  const url = `/api/v1/namespaces/${namespace}/models/${name}/logs?follow=true&tail=${TAIL}`;
  useStream(isFollowing ? url : null, "line", {
    onOpen: () => {
      // A stream that begins anew tells the last lines again.
      fresh.current = [];
      anew.current = true;
      soon();
    },
    onMessage: (data) => {
      fresh.current.push(JSON.parse(data) as Told);
      soon();
    },
  });
  return lines;
}
