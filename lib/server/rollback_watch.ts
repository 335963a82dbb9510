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

/**
 * Calls back once, when too many requests fail within the time; whatever is reported goes on to the observer of the proxy.
 *
 * @param onFailure with what the log is to say of it
 */
export function watchFailures(
  { observer, clock }: Pick<ProxyParts, "observer" | "clock">,
  { errorRate, withinMs, minRequests }: ResolvedRollback,
  onFailure: (reason: string) => void,
): FailureWatch {
  let requests = 0;
  let failures = 0;
  let watching = true;
  const timer = clock.setTimer(() => watching = false, withinMs);
  const end = (): void => {
    watching = false;
    timer[Symbol.dispose]();
  };
  const count = (status: number): void => {
    requests++;
    if (status < 500) return;
    failures++;
    if (requests < minRequests || failures <= errorRate * requests) return;
    end();
    onFailure(`${failures} of ${requests} requests failed`);
  };
  return {
    observer: {
      get wantsAccess(): boolean {
        return watching || observer.wantsAccess;
      },
      event: (event) => observer.event(event),
      access: (entry) => {
        if (watching) count(entry.status);
        if (observer.wantsAccess) observer.access(entry);
      },
    },
    end,
  };
}
