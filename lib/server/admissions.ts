/** The limits of one proxy, made of its policies. */

import { LimitHeaders } from "../limiter/limit_headers.ts";
import { RateLimiter } from "../limiter/limiter.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { SharedTable } from "../limiter/shared_table.ts";
import type { Exchange } from "../proxy/exchange.ts";
import type { Admission } from "../proxy/proxy_runtime.ts";
import type { ServeOptions } from "./serve.ts";

/**
 * Makes limiters that share one table.
 *
 * A route with limits of its own gets a limiter of the proxy's policies and its own: so all of them are checked before
 * any is charged, and what the proxy's policies count is the same for all routes.
 */
export class Admissions implements Disposable {
  readonly #options: Required<ServeOptions>;
  readonly #table: SharedTable | null;
  readonly #stack = new DisposableStack();

  /** @param policies all that there will be, of the proxy and of its routes: the table is made for them */
  constructor(policies: readonly ResolvedPolicy[], options: Required<ServeOptions>) {
    const { clock, random } = options;
    this.#options = options;
    const maxKeys = policies.reduce((sum, policy) => sum + policy.maxKeys, 0);
    this.#table = policies.length === 0
      ? null
      : SharedTable.create({ clock, random, maxKeys, sketches: policies.length });
  }

  /** The limits of requests that all of these policies are for; `null` when there are none. */
  create(policies: readonly ResolvedPolicy[]): Admission | null {
    if (policies.length === 0) return null;
    const { clock, random, observer } = this.#options;
    const table = this.#table!;
    const limiter = new RateLimiter<Exchange>(policies, {
      clock,
      random,
      table,
      onOverflow: ({ name }) =>
        observer.event({ kind: "limiter_overflow", policy: name, capacity: table.maxKeys }),
    });
    this.#stack.use(limiter);
    return { limiter, headers: new LimitHeaders(policies) };
  }

  /** Ends all of them. */
  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}
