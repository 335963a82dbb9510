/** The limits of a replay, as in the proxy, and notes on data that the trace lacks. */

import type { ResolvedConfig } from "../config/proxy_config.ts";
import { allPolicies, findableRoutes } from "../config/resolve_config.ts";
import type { ResolvedRoute } from "../config/route_options.ts";
import { refusePromise } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import { seededRandom } from "../core/random.ts";
import { mergeStates } from "../filter/compose_filters.ts";
import { readTarget, shapeOfPath } from "../http/request_target.ts";
import { RateLimiter } from "../limiter/limiter.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { SharedTable } from "../limiter/shared_table.ts";
import { REDACTED } from "../observe/access_log_options.ts";
import { RouteFinder } from "../routing/route_finder.ts";
import { listOf } from "../routing/route_match.ts";
import type { SimulatedContext, SimulatedRequest } from "./simulated_request.ts";

/** The part of a configuration that determines limits. */
export type LimitedConfig = Pick<ResolvedConfig, "limiter" | "routes" | "filters">;

/** The route and the limits of one request. */
interface FoundLimits {
  /** The matching route; `null` if there are no routes, or none matches. */
  readonly route: ResolvedRoute | null;
  /** Whether the proxy would forward the request: without a matching route it gets 404, and a bad request 400. */
  readonly taken: boolean;
  /** The limiter of the request; `null` if it is not limited. */
  readonly limiter: RateLimiter | null;
}

/** Limiters that share one table: the policies of the configuration count the requests of all routes together. */
export class SimulatedLimits implements Disposable {
  readonly #config: LimitedConfig;
  readonly #finder: RouteFinder | null;
  readonly #limiters = new Map<readonly ResolvedPolicy[], RateLimiter | null>();
  readonly #watched: ReadonlyMap<ResolvedPolicy, ResolvedPolicy>;
  readonly #make: (policies: readonly ResolvedPolicy[]) => RateLimiter;
  /** Names of the policies that have found no key in the last request. */
  readonly keyless = new Set<string>();

  /** @param maxKeys number of keys that are counted exactly */
  constructor(config: LimitedConfig, clock: VirtualClock, maxKeys: number) {
    this.#config = config;
    this.#finder = config.routes.length === 0 ? null : new RouteFinder(findableRoutes(config));
    const policies = allPolicies(config);
    this.#watched = new Map(policies.map((policy) => [policy, this.#watch(policy)]));
    const random = seededRandom(1);
    const table = policies.length === 0
      ? null
      : SharedTable.create({ clock, random, maxKeys, sketches: policies.length });
    this.#make = (own) => new RateLimiter(own, { clock, random, table: table! });
  }

  /** Finds the route and limits of a request, and creates the `state` for functions of the configuration. */
  find(context: SimulatedContext): FoundLimits {
    const { limiter, filters: { newContext } } = this.#config;
    if (newContext !== undefined) context.state = refusePromise(newContext(context.request));
    const order = this.#findRoute(context);
    if (order === null) return { route: null, taken: false, limiter: null };
    const route = this.#config.routes[order] ?? null;
    if (route !== null) {
      context.route = route.name;
      if (route.newContext !== null) {
        context.state = mergeStates(context.state, refusePromise(route.newContext!(context.request)));
      }
    }
    return {
      route,
      taken: route !== null || this.#finder === null,
      limiter: this.#limiterOf(route?.limiter ?? limiter),
    };
  }

  /** Index of the matching route, -1 if none matches; `null` if the request itself is refused. */
  #findRoute({ method, host, target, request }: SimulatedContext): number | null {
    if (this.#finder === null) return -1;
    let parsed: ReturnType<typeof readTarget>;
    try {
      parsed = readTarget(`http://${host}${target}`, host, "");
    } catch {
      return null;
    }
    const routed = { method, host, fields: request.headers };
    const { end, plain } = shapeOfPath(parsed.target);
    const path = parsed.target.slice(0, end);
    if (plain) return this.#finder.find(routed, path);
    const { order, ambiguous } = this.#finder.findWritten(routed, path);
    return ambiguous ? null : order;
  }

  #limiterOf(policies: readonly ResolvedPolicy[]): RateLimiter | null {
    let limiter = this.#limiters.get(policies);
    if (limiter === undefined) {
      limiter = policies.length === 0 ? null : this.#make(policies.map((each) => this.#watched.get(each)!));
      this.#limiters.set(policies, limiter);
    }
    return limiter;
  }

  /** The same policy; records in `keyless` when it finds no key. */
  #watch(policy: ResolvedPolicy): ResolvedPolicy {
    return {
      ...policy,
      key: (source) => {
        const key = policy.key(source);
        if (key === null || key === "") this.keyless.add(policy.name);
        return key;
      },
    };
  }

  [Symbol.dispose](): void {
    for (const limiter of this.#limiters.values()) limiter?.[Symbol.dispose]();
  }
}

// A clock that the replay sets.

/** A clock for replays; its time changes only by {@linkcode VirtualClock.advanceTo}. */
export class VirtualClock implements Clock {
  #now = 0;

  /** Advances to a time; ignores earlier times. */
  advanceTo(ms: number): void {
    if (ms > this.#now) this.#now = ms;
  }

  /** Milliseconds from the start of the replay. */
  now(): number {
    return this.#now;
  }

  /** The same as {@linkcode now}. */
  wallTime(): number {
    return this.#now;
  }

  /** Ignores timers: decisions of a limiter do not wait for any. */
  setTimer(): Disposable {
    return { [Symbol.dispose]: () => {} };
  }
}

// Permits of concurrency policies, released when their requests end.

/** A permit, and when it is released. */
interface Held {
  readonly lease: Disposable;
  readonly endMs: number;
}

/** Held permits in a heap; the first to be released is at the top. */
export class PermitsInTime implements Disposable {
  readonly #heap: Held[] = [];

  /** Holds a permit until a time. */
  hold(lease: Disposable, endMs: number): void {
    const heap = this.#heap;
    let at = heap.push({ lease, endMs }) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]!.endMs <= heap[at]!.endMs) break;
      [heap[parent], heap[at]] = [heap[at]!, heap[parent]!];
      at = parent;
    }
  }

  /** Releases all permits due by a time, in order, each at its own time. */
  releaseUntil(ms: number, onEnd: (endMs: number) => void): void {
    while (this.#heap.length > 0 && this.#heap[0]!.endMs <= ms) {
      const { lease, endMs } = this.#takeFirst();
      onEnd(endMs);
      lease[Symbol.dispose]();
    }
  }

  #takeFirst(): Held {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    heap[0] = last;
    for (let at = 0;;) {
      const left = 2 * at + 1;
      if (left >= heap.length) return first;
      const right = left + 1;
      const least = right < heap.length && heap[right]!.endMs < heap[left]!.endMs ? right : left;
      if (heap[at]!.endMs <= heap[least]!.endMs) return first;
      [heap[at], heap[least]] = [heap[least]!, heap[at]!];
      at = least;
    }
  }

  [Symbol.dispose](): void {
    for (const { lease } of this.#heap.splice(0)) lease[Symbol.dispose]();
  }
}

// Data that the trace lacks.

/** Parts of a request for which a default is used if the trace lacks them. */
const PARTS = ["ip", "target", "host", "durationMs", "status", "bytes"] as const;
type Part = typeof PARTS[number];

/** Whether the log has redacted the value that a key is taken from. */
function isRedacted({ target, headers = {} }: SimulatedRequest, key: string): boolean {
  const [kind, name] = [key.slice(0, key.indexOf(":")), key.slice(key.indexOf(":") + 1).toLowerCase()];
  if (kind === "query") {
    return target !== undefined && target.toLowerCase().includes(`${name}=${REDACTED}`);
  }
  const field = kind === "cookie" ? "cookie" : kind === "header" ? name : null;
  return Object.entries(headers).some(([each, value]) => each.toLowerCase() === field && value === REDACTED);
}

/** Counts missing parts of requests, and describes the consequences. */
export class MissingParts {
  readonly #config: LimitedConfig;
  readonly #policies: readonly ResolvedPolicy[];
  readonly #keys: readonly string[];
  readonly #lacking = new Map<Part, number>(PARTS.map((part) => [part, 0]));
  readonly #keyless = new Map<string, number>();
  readonly #byRoute = new Map<string, number>();
  /** Number of requests with a redacted value, by key of a policy. */
  readonly #redacted = new Map<string, number>();
  #requests = 0;
  #unrouted = 0;

  constructor(config: LimitedConfig) {
    this.#config = config;
    this.#policies = allPolicies(config);
    this.#keys = [
      ...new Set(this.#policies.flatMap(({ keySpec }) => typeof keySpec === "function" ? [] : keySpec)),
    ];
  }

  /** Requests without a key by name of the policy; policies without such requests are left out. */
  get withoutKey(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#keyless);
  }

  /** Number of requests that match no route. */
  get unrouted(): number {
    return this.#unrouted;
  }

  /** Counts a request. */
  count(request: SimulatedRequest, route: string | null, taken: boolean, keyless: Iterable<string>): void {
    this.#requests++;
    for (const part of PARTS) {
      if (request[part] === undefined) this.#lacking.set(part, this.#lacking.get(part)! + 1);
    }
    for (const key of this.#keys) {
      if (isRedacted(request, key)) this.#redacted.set(key, (this.#redacted.get(key) ?? 0) + 1);
    }
    if (!taken) this.#unrouted++;
    if (route !== null) this.#byRoute.set(route, (this.#byRoute.get(route) ?? 0) + 1);
    for (const policy of keyless) this.#keyless.set(policy, (this.#keyless.get(policy) ?? 0) + 1);
  }

  /** The notes, one sentence each. */
  notes(): string[] {
    if (this.#requests === 0) return [];
    return [...this.#keyNotes(), ...this.#redactedNotes(), ...this.#partNotes(), ...this.#routeNotes()];
  }

  #keyNotes(): string[] {
    return this.#policies.flatMap(({ name, keySpec, onMissingKey }) => {
      const count = this.#keyless.get(name) ?? 0;
      if (count === 0) return [];
      const by = typeof keySpec === "function" ? "what a function returns" : [keySpec].flat().join(" and ");
      return [`${this.#share(count)} no key for policy ${name} (${by}): ${CONSEQUENCES[onMissingKey]}`];
    });
  }

  #redactedNotes(): string[] {
    return Array.from(
      this.#redacted,
      ([key, count]) => `${this.#share(count)} ${REDACTED} in place of ${key}: their keys are not known`,
    );
  }

  #partNotes(): string[] {
    const { routes } = this.#config;
    const uses = (part: string): boolean =>
      this.#policies.some(({ keySpec }) =>
        typeof keySpec !== "function" && [keySpec].flat().some((key) => key === part || key.startsWith(part))
      );
    const listNames = (policies: readonly ResolvedPolicy[]): string =>
      policies.map(({ name }) => name).join(", ");
    const concurrent = this.#policies.filter(({ algorithm }) => algorithm === "concurrency");
    const charging = this.#policies.filter(({ charge }) => charge !== null);
    const byAddress = uses("ip") ||
      this.#policies.some((policy) =>
        policy.exemptNetworks !== null || (policy.onMissingKey === "ip" && this.#keyless.has(policy.name))
      );
    const byPath = uses("path") || uses("query:") || routes.some(({ match }) => listOf(match.path) !== null);
    const byHost = uses("host") || routes.some(({ match }) => listOf(match.host) !== null);
    return [
      ...this.#note("ip", byAddress, "counted as 192.0.2.1, as if by one client"),
      ...this.#note("target", byPath, "counted as /"),
      ...this.#note("host", byHost, "counted as localhost"),
      ...this.#note(
        "durationMs",
        concurrent.length > 0,
        `over at once for policy ${listNames(concurrent)}`,
        '"duration"',
      ),
      ...(charging.length > 0 && this.#allLack("durationMs", "status", "bytes")
        ? [`No request has a duration, a status or bytes, by which policy ${listNames(charging)} may charge`]
        : []),
    ];
  }

  #routeNotes(): string[] {
    const { routes } = this.#config;
    return [
      ...(this.#unrouted === 0
        ? []
        : [`${formatCount(this.#unrouted)} ${this.#unrouted === 1 ? "is" : "are"} taken by no route (404)`]),
      ...routes.filter(({ name, limiter }) => limiter !== null && !this.#byRoute.has(name))
        .map(({ name }) => `No request went to route ${name}, whose limits were not tried`),
    ];
  }

  #note(part: Part, matters: boolean, consequence: string, shown = `"${part}"`): string[] {
    const count = this.#lacking.get(part)!;
    return matters && count > 0 ? [`${this.#share(count)} no ${shown}: ${consequence}`] : [];
  }

  #allLack(...parts: readonly Part[]): boolean {
    return parts.every((part) => this.#lacking.get(part) === this.#requests);
  }

  #share(count: number): string {
    return count === this.#requests
      ? "All requests have"
      : `${formatCount(count)} ${count === 1 ? "has" : "have"}`;
  }
}

/** How requests without a key are treated. */
const CONSEQUENCES: Readonly<Record<ResolvedPolicy["onMissingKey"], string>> = {
  skip: "not limited by it",
  reject: "refused by it",
  ip: "counted by address",
};

function formatCount(count: number): string {
  return `${count.toLocaleString("en-US")} ${count === 1 ? "request" : "requests"}`;
}
