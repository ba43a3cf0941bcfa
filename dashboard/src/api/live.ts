/** Changes as they happen: a stream of the server's patches the cache of queries; while the page is hidden nothing is
 * asked, and once the stream is cut the lists are asked for again, as often as the server lets itself be asked. */

import { useEffect } from "react";

import { become, isLost } from "./connection";
import { keys, queryClient, type Event, type Model } from "./queries";

// Changes of so many milliseconds are shown together: a table of a thousand rows is drawn once for all of them.
const TOGETHER = 200;
// Milliseconds between two looks while there is no stream, and until a stream that was refused is tried again.
const POLL = 5_000;
const AGAIN = 1_000;
// What depends on models and is told by no stream of its own is asked again this long after a change at the earliest.
const AFTER_CHANGE = 1_000;

interface Gone {
  uid: string;
  namespace: string;
  name: string;
}

/** Puts `changed` into a list by name, and takes `gone` out of it. */
export function patched(models: Model[], changed: Map<string, Model>, gone: Set<string>): Model[] {
  const left = new Map(changed);
  const kept: Model[] = [];
  for (const model of models) {
    const newer = left.get(model.uid);
    left.delete(model.uid);
    if (newer) kept.push(newer.version >= model.version ? newer : model);
    else if (!gone.has(model.uid)) kept.push(model);
  }
  if (left.size === 0) return kept;
  const order = new Intl.Collator("en");
  return [...kept, ...left.values()].sort(
    (a, b) => order.compare(a.name, b.name) || order.compare(a.namespace, b.namespace),
  );
}

/** Whether it tells of a schedule, or of what one has done. */
const isOfSchedules = ({ type, actor }: Event) => type.startsWith("Schedule") || actor === "schedule";

class Follower {
  private source: EventSource | null = null;
  private changed = new Map<string, Model>();
  private gone = new Set<string>();
  private seen: Event[] = [];
  private flushing = 0;
  private asking = 0;
  private touched: Event[] = [];
  private polling = 0;
  private again = 0;

  start() {
    document.addEventListener("visibilitychange", this.look);
    this.look();
  }

  stop() {
    document.removeEventListener("visibilitychange", this.look);
    this.pause();
  }

  private look = () => (document.hidden ? this.pause() : this.follow());

  private pause() {
    this.source?.close();
    this.source = null;
    window.clearInterval(this.polling);
    window.clearTimeout(this.asking);
    window.clearTimeout(this.again);
    this.polling = this.asking = this.again = 0;
    become("paused");
  }

  private follow() {
    if (this.source) return;
    if (!isLost()) become("connecting");
    const source = (this.source = new EventSource("/api/v1/changes"));
    // The stream begins with its opening: what happened before that is in the lists, asked for after it.
    source.addEventListener("open", () => {
      window.clearInterval(this.polling);
      this.polling = 0;
      become("live");
      void queryClient.invalidateQueries();
    });
    source.addEventListener("model", (message) => {
      const model = JSON.parse(message.data) as Model;
      this.changed.set(model.uid, model);
      this.gone.delete(model.uid);
      this.flushSoon();
    });
    source.addEventListener("gone", (message) => {
      const { uid } = JSON.parse(message.data) as Gone;
      this.gone.add(uid);
      this.changed.delete(uid);
      this.flushSoon();
    });
    source.addEventListener("change", (message) => {
      this.seen.push(JSON.parse(message.data) as Event);
      this.flushSoon();
    });
    source.addEventListener("error", () => this.lost(source));
  }

  /** The browser tries again by itself, unless the server has said no. */
  private lost(source: EventSource) {
    if (source !== this.source) return;
    become("polling");
    if (!this.polling) {
      this.polling = window.setInterval(() => void queryClient.invalidateQueries(), POLL);
      // Whoever may read no longer learns so at once.
      void queryClient.invalidateQueries({ queryKey: keys.me });
    }
    if (source.readyState === EventSource.CLOSED) {
      this.source = null;
      this.again = window.setTimeout(() => this.follow(), AGAIN);
    }
  }

  private flushSoon() {
    if (!this.flushing) this.flushing = window.setTimeout(() => this.flush(), TOGETHER);
  }

  private flush() {
    this.flushing = 0;
    // A list on its way may be older than what is told meanwhile.
    if (queryClient.isFetching({ queryKey: keys.models, exact: true })) return this.flushSoon();
    const { changed, gone, seen } = this;
    this.changed = new Map();
    this.gone = new Set();
    this.seen = [];
    queryClient.setQueryData<Model[]>(keys.models, (models) => models && patched(models, changed, gone));
    for (const model of changed.values()) {
      const key = keys.model(model.namespace, model.name);
      if (queryClient.getQueryState(key)) queryClient.setQueryData(key, model);
    }
    if (seen.length > 0) this.askAgain(seen);
  }

  /** What is beside models and depends on them: once a second at most, and only what is on the page. */
  private askAgain(seen: Event[]) {
    this.touched.push(...seen);
    if (this.asking) return;
    this.asking = window.setTimeout(() => {
      this.asking = 0;
      const touched = new Set(this.touched.map((event) => JSON.stringify([event.namespace, event.model])));
      const scheduled = this.touched.some(isOfSchedules);
      this.touched = [];
      void queryClient.invalidateQueries({
        type: "active",
        predicate: ({ queryKey: [what, namespace, name, part] }) =>
          what === "model"
            ? part !== undefined && touched.has(JSON.stringify([namespace, name]))
            : what === "events" ||
              what === "capacity" ||
              what === "operations" ||
              what === "alerts" ||
              what === "namespaces" ||
              what === "overview" ||
              (what === "schedules" && scheduled),
      });
    }, AFTER_CHANGE);
  }
}

/** Follows the server's changes for as long as the component is there. */
export function useLive() {
  useEffect(() => {
    const follower = new Follower();
    follower.start();
    return () => follower.stop();
  }, []);
}
