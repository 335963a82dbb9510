/** Requests that run until the test ends them, through a proxy that counts in Redis. */

import { assertEquals } from "@std/assert";
import type { LimiterPolicy } from "../../lib/limiter/policy.ts";
import type { RedisStoreOptions } from "../../lib/limiter/redis_store_options.ts";
import { type Answer, startProxy, type TestProxy } from "./start_proxy.ts";
import { startUpstream, type Upstream } from "./start_upstream.ts";

/** Requests to which a server responds when the test says so. */
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

  /** Starts a proxy in front of the server, whose limit is only counted in Redis. */
  proxy(policy: LimiterPolicy, store: Omit<RedisStoreOptions, "type">): Promise<TestProxy> {
    return startProxy({
      upstreams: [this.upstream.address],
      // A failed test leaves requests running.
      gracePeriod: "1s",
      limiter: { ...policy, store: { type: "redis", timeout: "5s", onStoreError: "closed", ...store } },
    });
  }

  /**
   * Sends requests in sequence and keeps them open; returns which are held by the server, and the statuses of others.
   */
  async ask(proxy: TestProxy, count: number): Promise<("held" | number)[]> {
    const outcomes: ("held" | number)[] = [];
    for (let tries = 0; outcomes.length < count && tries < 5000; tries++) {
      this.#arrived = Promise.withResolvers();
      const answer = proxy.ask();
      const outcome = await Promise.race([this.#arrived.promise, answer.then(({ status }) => status)]);
      if (outcome === "held") this.#running.push(answer);
      // 503 means no decision: Redis was unavailable, or too slow.
      if (outcome !== 503) outcomes.push(outcome);
    }
    return outcomes;
  }

  /** Ends all requests. */
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

/** The result of {@linkcode HeldRequests.ask} if this number was admitted, and the next request was not. */
export function only(count: number): ("held" | number)[] {
  return [...Array(count).fill("held"), 429];
}

/** Waits until the proxy reports the store as available or unavailable for the `nth` time. */
export function untilStore({ seen }: TestProxy, available: boolean, nth = 1): Promise<void> {
  return seen.until(() =>
    seen.eventsOf("limiter_store").filter((event) => event.available === available).length >= nth
  );
}

/** Sends requests until the store is reported as unavailable. */
export async function untilGivenUp(proxy: TestProxy): Promise<void> {
  while (proxy.seen.eventsOf("limiter_store").at(-1)!.available) await proxy.ask();
}
