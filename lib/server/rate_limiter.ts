/** The limiter without the proxy, for programs with `Deno.serve`. */

import { callAside, tellStrayError } from "../core/callback.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import type { Duration } from "../core/units.ts";
import { systemRandom } from "../core/random.ts";
import { HeaderFields } from "../http/header_fields.ts";
import { readTarget } from "../http/request_target.ts";
import type { Decision, LimitedDecision } from "../limiter/policy.ts";
import type { KeySource } from "../limiter/key_spec.ts";
import { completeRefusal, LimitHeaders, refusalBody, refusalFields } from "../limiter/limit_headers.ts";
import { RateLimiter as Limiter } from "../limiter/limiter.ts";
import type { LimiterPolicy, ResolvedPolicy } from "../limiter/policy.ts";
import type { PolicyStatus } from "../limiter/limit_control.ts";

/** What a {@linkcode RateLimiter} takes in addition to its policies. */
export interface RateLimiterOptions {
  /** Source of time. @default {the system clock} */
  clock?: Clock;
  /** Seeds the table of counts, so that clients cannot choose keys that collide in it. @default {Math.random} */
  random?: () => number;
  /**
   * Called when keys of a policy no longer fit its `maxKeys` and replace others; at most once a window. If it throws or
   * rejects, the error is written to `stderr`.
   *
   * @default {none}
   */
  onOverflow?: (policy: ResolvedPolicy) => void;
  /** Called when a `charge` throws; the request then counts its cost. @default {a line on `stderr`} */
  onChargeError?: (error: unknown) => void;
}

/**
 * Limits the requests of clients in any program: the limiter of the proxy without the proxy.
 *
 * Takes the same policies as `limiter` in a configuration. Counts are exact and use memory of fixed size. Dispose the
 * limiter when it is not needed any more.
 *
 * @example
 * ```ts
 * import { RateLimiter } from "@x/lbproxy";
 * import { assertEquals } from "@std/assert";
 *
 * using limiter = new RateLimiter({ key: "ip", limit: 2, window: "1m" });
 * await using server = Deno.serve(
 *   { port: 0, hostname: "127.0.0.1", onListen() {} },
 *   limiter.wrap(() => new Response("hello")),
 * );
 *
 * const ask = async () => {
 *   const response = await fetch(`http://127.0.0.1:${server.addr.port}/`);
 *   await response.body?.cancel();
 *   return response.status;
 * };
 * assertEquals([await ask(), await ask(), await ask()], [200, 200, 429]);
 * ```
 *
 * @example Limit anything else
 * ```ts
 * import { RateLimiter } from "@x/lbproxy";
 * import { assertEquals } from "@std/assert";
 *
 * using limiter = new RateLimiter({ key: "header:user", limit: 1, window: "1h" });
 * const request = new Request("http://localhost/", { headers: { user: "ada" } });
 * assertEquals([limiter.check(request).kind, limiter.check(request).kind], ["allowed", "limited"]);
 * limiter.reset("ada");
 * assertEquals(limiter.check(request).kind, "allowed");
 * ```
 */
export class RateLimiter implements Disposable {
  readonly #limiter: Limiter<ServeSource>;
  readonly #headers: LimitHeaders;
  readonly #onChargeError: (error: unknown) => void;

  /**
   * Makes a limiter that has counted nothing yet.
   *
   * @param policies one policy, or several that must all admit a request
   * @throws {TypeError} when a policy has mistakes (the message lists all of them), two have the same name, or one has a
   * `store` that machines share
   * @throws {RangeError} when the policies, or their keys, are more than a table has room for
   */
  constructor(
    policies: LimiterPolicy<ServeSource> | readonly LimiterPolicy<ServeSource>[],
    options: RateLimiterOptions = {},
  ) {
    const { clock = systemClock, random = systemRandom, onOverflow, onChargeError = reportChargeError } =
      options;
    this.#limiter = new Limiter<ServeSource>(policies, {
      clock,
      random,
      ...(onOverflow === undefined ? {} : {
        onOverflow: (policy) =>
          callAside(() => onOverflow(policy), (error) => tellStrayError("onOverflow", error)),
      }),
    });
    if (this.#limiter.policies.some(({ store }) => store !== null)) {
      throw new TypeError(
        "Cannot count in a store of several machines here: that is for the limiter of a proxy",
      );
    }
    this.#headers = new LimitHeaders(this.#limiter.policies);
    this.#onChargeError = onChargeError;
  }

  /** @internal The policies, complete. */
  get policies(): readonly ResolvedPolicy[] {
    return this.#limiter.policies;
  }

  /**
   * Puts the limits in front of a handler of `Deno.serve`.
   *
   * Refuses requests over the limit without calling the handler; other responses get fields with the remaining quota. Releases
   * permits of a concurrency policy, and calls `charge`, when the response has been sent.
   */
  wrap(handler: Deno.ServeHandler): Deno.ServeHandler {
    return async (request, info) => {
      const source = new ServeSource(request, info);
      const decision = this.#limiter.check(source);
      if (decision.kind === "limited") return await this.#refuse(decision, source);
      const over = (): void => this.#release(decision, source);
      try {
        const response = await handler(request, info);
        source.status = response.status;
        return this.announce(decision, response);
      } finally {
        info.completed.then(over, over);
      }
    };
  }

  /**
   * Decides about a request, and counts it when it is admitted.
   *
   * If you call this instead of {@linkcode wrap}, release the decision's `lease` when the request has ended. A request counts
   * its `cost`; `charge` is never called, because the response is not known here.
   *
   * @param info from `Deno.serve`; without it the client has no address
   * @throws {FilterError} when a function of a policy throws or returns an invalid number; nothing is counted then
   */
  check(request: Request, info?: Pick<Deno.ServeHandlerInfo, "remoteAddr">): Decision {
    return this.#limiter.check(new ServeSource(request, info));
  }

  /** The response to a request that was refused: 429, and a problem document that names the policies. */
  refusal(decision: LimitedDecision): Response {
    const headers = [...refusalFields(decision, this.#headers)];
    return new Response(refusalBody(decision), { status: 429, headers });
  }

  /** Adds fields with the remaining quota to a response; returns the same response if there are none to add. */
  announce(decision: Decision, response: Response): Response {
    const before = new HeaderFields(response.headers);
    const fields = new HeaderFields(response.headers);
    this.#headers.apply(decision, fields);
    if (
      fields.list.length === before.list.length && fields.list.every((text, i) => text === before.list[i])
    ) {
      return response;
    }
    const { body, status, statusText } = response;
    return new Response(body, { status, statusText, headers: [...fields] });
  }

  /** The state of each policy that applies to the request, without counting the request. */
  peek(request: Request, info?: Pick<Deno.ServeHandlerInfo, "remoteAddr">): PolicyStatus[] {
    return this.#limiter.peek(new ServeSource(request, info));
  }

  /**
   * Resets the counts of a key, and lifts its ban.
   *
   * @param policyName the policy to reset; all policies if left out
   * @throws {RangeError} when there is no such policy
   */
  reset(key: string, policyName?: string): void {
    this.#limiter.reset(key, policyName);
  }

  /**
   * Refuses all requests with the key for some time.
   *
   * @param duration `"10m"`, or milliseconds
   * @param policyName the policy that bans the key; all policies if left out
   * @returns `false` if there was no room to store the ban for all of these policies
   * @throws {RangeError} when there is no such policy
   * @throws {TypeError} when the duration is invalid
   */
  ban(key: string, duration: Duration, policyName?: string): boolean {
    return this.#limiter.ban(key, duration, policyName);
  }

  /** Frees the counts. The limiter cannot be used afterwards. */
  [Symbol.dispose](): void {
    this.#limiter[Symbol.dispose]();
  }

  async #refuse(decision: LimitedDecision, source: ServeSource): Promise<Response> {
    const { response } = decision.policy;
    if (response === null) return this.refusal(decision);
    return completeRefusal(await response(decision, source), decision, this.#headers);
  }

  #release(decision: Decision, source: ServeSource): void {
    if (decision.kind !== "allowed") return;
    decision.lease?.release();
    try {
      this.#limiter.settle(decision, source);
    } catch (error) {
      callAside(() => this.#onChargeError(error), (again) => tellStrayError("onChargeError", again));
    }
  }
}

function reportChargeError(error: unknown): void {
  tellStrayError("charge", error);
}

/** What a {@linkcode RateLimiter} passes to the functions of a policy. */
export class ServeSource implements KeySource {
  /** The request. */
  readonly request: Request;
  /** Address of the client as the runtime knows it; `""` without one. */
  readonly clientIp: string;
  /** Status of the response; 0 before there is one. */
  status = 0;
  #parts: ReturnType<typeof readTarget> | null = null;

  /** @internal */
  constructor(request: Request, info?: Pick<Deno.ServeHandlerInfo, "remoteAddr">) {
    this.request = request;
    const address = info?.remoteAddr;
    this.clientIp = address !== undefined && "hostname" in address ? address.hostname : "";
  }

  /** Path and query, as in the URL of the request. */
  get target(): string {
    return this.#read().target;
  }

  /** The `Host` of the request. */
  get host(): string {
    return this.#read().host;
  }

  #read(): ReturnType<typeof readTarget> {
    return this.#parts ??= readTarget(this.request.url, this.request.headers.get("host"), "");
  }
}
