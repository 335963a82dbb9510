/** Looks at the first responses of a new configuration. */

import type { ResolvedRollback } from "../config/process_options.ts";
import type { Observer } from "../observe/observer.ts";
import type { ProxyParts } from "./serve_options.ts";

/** Counts failures until the first moments are over. */
interface FailureWatch {
  /** What the configuration reports to. */
  readonly observer: Observer;
  /** Counts no more. */
  readonly end: () => void;
}

/** How often it is looked at what workers have counted. */
const LOOK_MS = 50;

/**
 * Calls back once, when too many requests fail within the time; whatever is reported goes on to the observer of the proxy.
 *
 * Workers only count: their supervisor adds up, and calls back.
 *
 * @param onFailure with what the log is to say of it
 */
export function watchFailures(
  { observer, clock, shared = null }: Pick<ProxyParts, "observer" | "clock" | "shared">,
  { errorRate, withinMs, minRequests }: ResolvedRollback,
  onFailure: (reason: string) => void,
): FailureWatch {
  let requests = 0;
  let failures = 0;
  let watching = true;
  let look: Disposable | null = null;
  const end = (): void => {
    watching = false;
    timer[Symbol.dispose]();
    look?.[Symbol.dispose]();
  };
  const timer = clock.setTimer(end, withinMs);
  const judge = (): void => {
    if (requests < minRequests || failures <= errorRate * requests) return;
    end();
    onFailure(`${failures} of ${requests} requests failed`);
  };
  if (shared?.role === "supervisor") {
    // That of the reload that is about to begin: its workers have counted nothing yet.
    const reload = shared.reloads + 1;
    const add = (): void => {
      look = clock.setTimer(add, LOOK_MS);
      ({ requests, failures } = shared.servers.tallyOf(reload));
      judge();
    };
    look = clock.setTimer(add, LOOK_MS);
    return { observer, end };
  }
  const worker = shared?.servers ?? null;
  if (shared !== null) shared.servers.beginTally(shared.reload);
  const count = (failed: boolean): void => {
    if (worker !== null) return worker.tally(failed);
    requests++;
    if (!failed) return;
    failures++;
    judge();
  };
  return {
    observer: {
      get wantsAccess(): boolean {
        return watching || observer.wantsAccess;
      },
      event: (event) => observer.event(event),
      access: (entry) => {
        if (watching) count(entry.status >= 500);
        if (observer.wantsAccess) observer.access(entry);
      },
    },
    end,
  };
}
