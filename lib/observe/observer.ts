/** Where a proxy reports to. */

import type { AccessEntry } from "./access_entry.ts";
import type { ProxyEvent } from "./events.ts";

/**
 * Somebody who is told what the proxy does.
 *
 * Both functions return at once and do not throw: they are called in the middle of requests.
 */
export interface Observer {
  /** Whether {@linkcode Observer.access} does anything; `false` saves making the entries. */
  readonly wantsAccess: boolean;
  /** Something happened that is not an ordinary request. */
  event(event: ProxyEvent): void;
  /** A request is over. */
  access(entry: AccessEntry): void;
}

/** Listens to nothing; for a proxy that is embedded without a log. */
export const silentObserver: Observer = Object.freeze({
  wantsAccess: false,
  event: () => {},
  access: () => {},
});
