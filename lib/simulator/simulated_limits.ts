/** The limits that a request has to pass, as in the proxy, and what a replay cannot know of them. */

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

/** The part of a configuration that decides about limits. */
export type LimitedConfig = Pick<ResolvedConfig, "limiter" | "routes" | "filters">;

/** What is found for one request. */
interface FoundLimits {
  /** The route that takes it; `null` where there are none, or none does. */
  readonly route: ResolvedRoute | null;
  /** Whether the proxy has something to do with it: a request that no route takes gets 404, and a bad one 400. */
  readonly taken: boolean;
  /** What it has to pass; `null` when it is not limited. */
  readonly limiter: RateLimiter | null;
}

/** Limiters that share one table: what the policies of the configuration count is the same for all routes. */
export class SimulatedLimits implements Disposable {
  readonly #config: LimitedConfig;
  readonly #finder: RouteFinder | null;
  readonly #limiters = new Map<readonly ResolvedPolicy[], RateLimiter | null>();
  readonly #watched: ReadonlyMap<ResolvedPolicy, ResolvedPolicy>;
  readonly #make: (policies: readonly ResolvedPolicy[]) => RateLimiter;
  /** Names of the policies that have found no key in the request that was decided about last. */
  readonly keyless = new Set<string>();

  /** @param maxKeys how many keys are counted exactly */
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

  /** Finds route and limits of a request, and makes the state that its functions see. */
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

  /** The place of the route that takes a request, -1 when none does; `null` when the request is refused as it is. */
  #findRoute({ method, host, target, request }: SimulatedContext): number | null {
    if (this.#finder === null) return -1;
    let asked: ReturnType<typeof readTarget>;
    try {
      asked = readTarget(`http://${host}${target}`, host, "");
    } catch {
      return null;
    }
    const routed = { method, host, fields: request.headers };
    const { end, plain } = shapeOfPath(asked.target);
    const path = asked.target.slice(0, end);
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

  /** The same policy, of which it is known when it finds no key. */
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

// Time that passes only when it is told to.

/** A clock for replays: it shows what it was set to, and nobody waits for it. */
export class VirtualClock implements Clock {
  #now = 0;

  /** Goes on to a moment; earlier ones are passed already. */
  advanceTo(ms: number): void {
    if (ms > this.#now) this.#now = ms;
  }

  /** Milliseconds since the replay began. */
  now(): number {
    return this.#now;
  }

  /** The same as {@linkcode now}. */
  wallTime(): number {
    return this.#now;
  }

  /** Decisions of a limiter wait for nothing, so timers are not kept. */
  setTimer(): Disposable {
    return { [Symbol.dispose]: () => {} };
  }
}

// Permits of concurrency policies, given back when the requests that hold them are over.

/** A permit and when it comes free. */
interface Held {
  readonly lease: Disposable;
  readonly endMs: number;
}

/** Permits that are held, the one that ends first at the top of a heap. */
export class PermitsInTime implements Disposable {
  readonly #heap: Held[] = [];

  /** Keeps a permit until a moment. */
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

  /** Gives back, one after the other, what has ended by a moment; each at its own. */
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

// What a replay could not know, because the trace does not say it.

/** Parts of a request that have a default where the trace does not say them. */
const PARTS = ["ip", "target", "host", "durationMs", "status", "bytes"] as const;
type Part = typeof PARTS[number];

/** Whether a log has left out what a key is taken from. */
function isRedacted({ target, headers = {} }: SimulatedRequest, key: string): boolean {
  const [kind, name] = [key.slice(0, key.indexOf(":")), key.slice(key.indexOf(":") + 1).toLowerCase()];
  if (kind === "query") {
    return target !== undefined && target.toLowerCase().includes(`${name}=${REDACTED}`);
  }
  const field = kind === "cookie" ? "cookie" : kind === "header" ? name : null;
  return Object.entries(headers).some(([each, value]) => each.toLowerCase() === field && value === REDACTED);
}

/** Counts what requests lack, and says what follows from that. */
export class MissingParts {
  readonly #config: LimitedConfig;
  readonly #policies: readonly ResolvedPolicy[];
  readonly #keys: readonly string[];
  readonly #lacking = new Map<Part, number>(PARTS.map((part) => [part, 0]));
  readonly #keyless = new Map<string, number>();
  readonly #byRoute = new Map<string, number>();
  /** How many requests have a value that a log has left out, by the key of a policy. */
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

  /** How many requests had no key, by the name of the policy; without those that all had one for. */
  get withoutKey(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#keyless);
  }

  /** How many requests the proxy has no route for. */
  get unrouted(): number {
    return this.#unrouted;
  }

  /** Takes a request in. */
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

  /** Says it in sentences. */
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
    const named = (policies: readonly ResolvedPolicy[]): string =>
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
        `over at once for policy ${named(concurrent)}`,
        '"duration"',
      ),
      ...(charging.length > 0 && this.#allLack("durationMs", "status", "bytes")
        ? [`No request has a duration, a status or bytes, by which policy ${named(charging)} may charge`]
        : []),
    ];
  }

  #routeNotes(): string[] {
    const { routes } = this.#config;
    return [
      ...(this.#unrouted === 0
        ? []
        : [`${counted(this.#unrouted)} ${this.#unrouted === 1 ? "is" : "are"} taken by no route (404)`]),
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
      : `${counted(count)} ${count === 1 ? "has" : "have"}`;
  }
}

/** What becomes of requests without a key. */
const CONSEQUENCES: Readonly<Record<ResolvedPolicy["onMissingKey"], string>> = {
  skip: "not limited by it",
  reject: "refused by it",
  ip: "counted by address",
};

function counted(count: number): string {
  return `${count.toLocaleString("en-US")} ${count === 1 ? "request" : "requests"}`;
}
