/** What a replay could not know, because the trace does not say it. */

import { listOf } from "../routing/route_match.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { allPolicies } from "../config/resolve_routes.ts";
import type { LimitedConfig } from "./simulated_limits.ts";
import type { SimulatedRequest } from "./simulated_request.ts";

/** Parts of a request that have a default where the trace does not say them. */
const PARTS = ["ip", "target", "host", "durationMs", "status", "bytes"] as const;
type Part = typeof PARTS[number];

/** Counts what requests lack, and says what follows from that. */
export class MissingParts {
  readonly #config: LimitedConfig;
  readonly #policies: readonly ResolvedPolicy[];
  readonly #lacking = new Map<Part, number>(PARTS.map((part) => [part, 0]));
  readonly #keyless = new Map<string, number>();
  readonly #byRoute = new Map<string, number>();
  #requests = 0;
  #unrouted = 0;

  constructor(config: LimitedConfig) {
    this.#config = config;
    this.#policies = allPolicies(config);
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
    if (!taken) this.#unrouted++;
    if (route !== null) this.#byRoute.set(route, (this.#byRoute.get(route) ?? 0) + 1);
    for (const policy of keyless) this.#keyless.set(policy, (this.#keyless.get(policy) ?? 0) + 1);
  }

  /** Says it in sentences. */
  notes(): string[] {
    if (this.#requests === 0) return [];
    return [...this.#keyNotes(), ...this.#partNotes(), ...this.#routeNotes()];
  }

  #keyNotes(): string[] {
    return this.#policies.flatMap(({ name, keySpec, onMissingKey }) => {
      const count = this.#keyless.get(name) ?? 0;
      if (count === 0) return [];
      const by = typeof keySpec === "function" ? "what a function returns" : [keySpec].flat().join(" and ");
      return [`${this.#share(count)} no key for policy ${name} (${by}): ${CONSEQUENCES[onMissingKey]}`];
    });
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
