/** Requests that run for as long as a test wants, through a proxy that counts in Redis. */

import { assertEquals } from "@std/assert";
import type { LimiterPolicy } from "../../lib/limiter/policy.ts";
import type { RedisStoreOptions } from "../../lib/limiter/redis_store_options.ts";
import { type Answer, startProxy, type TestProxy } from "./start_proxy.ts";
import { startUpstream, type Upstream } from "./start_upstream.ts";

/** Requests that a server answers when the test says so. */
export class HeldRequests implements AsyncDisposable {
  readonly upstream: Upstream;
  #gate = Promise.withResolvers<void>();
  #arrived = Promise.withResolvers<"held">();
  #running: Promise<Answer>[] = [];

  constructor() {
    this.upstream = startUpstream({
      handler: async () => {
        const { promise } = this.#gate;
        this.#arrived.resolve("held");
        await promise;
        return new Response("done");
      },
    });
  }

  /** Starts a proxy in front of the server, whose limit is counted in Redis and by nobody else. */
  proxy(policy: LimiterPolicy, store: Omit<RedisStoreOptions, "type">): Promise<TestProxy> {
    return startProxy({
      upstreams: [this.upstream.address],
      // A test that fails leaves requests behind.
      gracePeriod: "1s",
      limiter: { ...policy, store: { type: "redis", timeout: "5s", onStoreError: "closed", ...store } },
    });
  }

  /** Asks one after the other and keeps all of them; tells which are held by the server, and the statuses of others. */
  async ask(proxy: TestProxy, count: number): Promise<("held" | number)[]> {
    const outcomes: ("held" | number)[] = [];
    for (let tries = 0; outcomes.length < count && tries < 5000; tries++) {
      this.#arrived = Promise.withResolvers();
      const answer = proxy.ask();
      const outcome = await Promise.race([this.#arrived.promise, answer.then(({ status }) => status)]);
      if (outcome === "held") this.#running.push(answer);
      // Not decided about: Redis is not there, or was not in time.
      if (outcome !== 503) outcomes.push(outcome);
    }
    return outcomes;
  }

  /** Lets all of them end. */
  async end(): Promise<void> {
    this.#gate.resolve();
    this.#gate = Promise.withResolvers<void>();
    for (const answer of this.#running.splice(0)) assertEquals((await answer).status, 200);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#gate.resolve();
    await Promise.all(this.#running);
    await this.upstream[Symbol.asyncDispose]();
  }
}

/** What {@linkcode HeldRequests.ask} tells when so many were admitted, and one more was not. */
export function only(count: number): ("held" | number)[] {
  return [...Array(count).fill("held"), 429];
}

/** Waits until the proxy says of the store that it can be used, or not, for the `nth` time. */
export function untilStore({ seen }: TestProxy, available: boolean, nth = 1): Promise<void> {
  return seen.until(() =>
    seen.eventsOf("limiter_store").filter((event) => event.available === available).length >= nth
  );
}

/** Asks until the store is given up. */
export async function untilGivenUp(proxy: TestProxy): Promise<void> {
  while (proxy.seen.eventsOf("limiter_store").at(-1)!.available) await proxy.ask();
}
