/** The limits of one proxy, made of its policies. */

import { RefusalBodies } from "../limiter/refusal_bodies.ts";
import { LimitHeaders } from "../limiter/limit_headers.ts";
import { RateLimiter } from "../limiter/limiter.ts";
import type { RateLimiterOptions } from "../limiter/limiter_options.ts";
import { MemoryStore } from "../limiter/memory_store.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { SharedTable } from "../limiter/shared_table.ts";
import { MAX_KEYS } from "../limiter/table_layout.ts";
import type { Exchange } from "../proxy/exchange.ts";
import type { Admission } from "../proxy/proxy_runtime.ts";
import type { DataPlaneOptions } from "./data_plane.ts";

/**
 * Makes limiters that share one table.
 *
 * A route with limits of its own gets a limiter of the proxy's policies and its own: so all of them are checked before
 * any is charged, and what the proxy's policies count is the same for all routes.
 */
export class Admissions implements Disposable {
  /** For each policy, in how many windows keys did not fit the table. */
  readonly overflows: Map<string, number>;
  readonly #options: DataPlaneOptions;
  readonly #table: SharedTable | null;
  readonly #stack = new DisposableStack();

  /** @param policies all that there will be, of the proxy and of its routes: the table is made for them */
  constructor(policies: readonly ResolvedPolicy[], options: DataPlaneOptions) {
    const { clock, random } = options;
    this.#options = options;
    this.overflows = new Map(policies.map(({ name }) => [name, 0]));
    const maxKeys = Math.min(MAX_KEYS, policies.reduce((sum, policy) => sum + policy.maxKeys, 0));
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
      ...this.#storeOf(policies, table),
      onOverflow: ({ name }) => {
        this.overflows.set(name, (this.overflows.get(name) ?? 0) + 1);
        observer.event({ kind: "limiter_overflow", policy: name, capacity: table.maxKeys });
      },
    });
    this.#stack.use(limiter);
    return { limiter, headers: new LimitHeaders(policies), bodies: new RefusalBodies() };
  }

  /** The store that policies share with other machines; the table is for when it does not answer. */
  #storeOf(policies: readonly ResolvedPolicy[], table: SharedTable): Pick<RateLimiterOptions, "store"> {
    const { stores = null } = this.#options;
    const options = policies[0]!.store;
    if (stores === null || options === null) return {};
    return { store: stores.open({ policies, options, memory: new MemoryStore(table), scope: "" }) };
  }

  /** Ends all of them. */
  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}
