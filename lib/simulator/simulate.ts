/** Replays requests through the limits of a configuration, and prints a report. */

import type { ProxyConfig } from "../config/proxy_config.ts";
import { allPolicies, resolveConfig } from "../config/resolve_config.ts";
import { checkOptions, object, whole } from "../core/options.ts";
import type { RateLimiter } from "../limiter/limiter.ts";
import type { LimitedDecision, ResolvedPolicy } from "../limiter/policy.ts";
import { MAX_KEYS } from "../limiter/table_layout.ts";
import {
  type LimitedConfig,
  MissingParts,
  PermitsInTime,
  SimulatedLimits,
  VirtualClock,
} from "./simulated_limits.ts";
import { SimulatedContext, type SimulatedRequest } from "./simulated_request.ts";

/** Options of {@linkcode simulate}. */
export interface SimulateOptions {
  /** How many refusals are listed individually; further ones are only counted. @default {10000} */
  maxRefusals?: number;
  /** Number of keys that are counted exactly. @default {1000000} */
  maxKeys?: number;
}

const SIMULATE_OPTIONS = object<SimulateOptions>(
  { maxRefusals: whole(0), maxKeys: whole(1, MAX_KEYS) },
  'an object with "maxRefusals" and "maxKeys"',
);

/** A refused request. */
type SimulatedRefusal = SimulationResult["refusals"][number];

/** The refusals of a policy for one key. */
type KeyRefusals = SimulationResult["byKey"][number];

/** The result of a replay. */
export interface SimulationResult {
  /** Number of replayed requests. */
  readonly requests: number;
  /** Number of admitted requests. */
  readonly admitted: number;
  /** Number of refused requests. */
  readonly refused: number;
  /** When the last request arrived, in milliseconds from the start of the trace. */
  readonly durationMs: number;
  /** Refused requests by name of the policy; for a policy with `dryRun`, those it would have refused. */
  readonly byPolicy: Readonly<Record<string, number>>;
  /** Refused requests by policy and key, most refusals first. */
  readonly byKey: readonly {
    /** Name of the policy. */
    readonly policy: string;
    /** The key; `null` for requests without one. */
    readonly key: string | null;
    /** Number of refused requests. */
    refused: number;
    /** When the first of them arrived, in milliseconds from the start of the trace. */
    readonly firstAtMs: number;
    /** When the last of them arrived, in milliseconds from the start of the trace. */
    lastAtMs: number;
  }[];
  /** The refusals, ordered by time; at most `maxRefusals`. */
  readonly refusals: readonly {
    /** Milliseconds from the start of the trace. */
    readonly atMs: number;
    /** Name of the policy that refused the request; if several did, the one that refuses for longest. */
    readonly policy: string;
    /** Key of the request for the policy; `null` if a required key was missing. */
    readonly key: string | null;
    /** Milliseconds until the request would have been admitted. */
    readonly retryAfterMs: number;
  }[];
  /** Requests without a key by name of the policy; policies without such requests are left out. */
  readonly withoutKey: Readonly<Record<string, number>>;
  /** Number of requests that match no route; the admitted ones get 404. */
  readonly unrouted: number;
  /** Relevant data that the requests lack, in sentences: a limit that finds no keys, for example, refuses no request. */
  readonly notes: readonly string[];
}

/**
 * Replays requests through the limits of a configuration and of its routes. A simulated clock jumps from one request to the
 * next: a replay of ten minutes ends at once, and the same requests always have the same result.
 *
 * For tests of a configuration. Its functions are called with a context that has the request, the client, `state` from
 * `newContext`, and status, bytes and duration from the trace. Nothing is sent to servers.
 *
 * @param requests ordered by time
 * @throws {ConfigError} when the configuration has mistakes
 * @throws {TypeError} when options are unknown or invalid, listing all of them
 * @throws {FilterError} when a function of the configuration throws
 *
 * @example Refuse the third request within a second
 * ```ts
 * import { simulate } from "@x/lbproxy";
 * import { assertEquals } from "@std/assert";
 *
 * const config = {
 *   upstreams: ["127.0.0.1:9001"],
 *   limiter: { key: "header:appid", limit: 2, window: "1s" },
 * } as const;
 * const headers = { appid: "myclient" };
 * const result = simulate(config, [0, 10, 20, 1000].map((atMs) => ({ atMs, headers })));
 * assertEquals(result.refusals, [{ atMs: 20, policy: "default", key: "myclient", retryAfterMs: 980 }]);
 * ```
 */
export function simulate<State = unknown>(
  config: ProxyConfig<State>,
  requests: Iterable<SimulatedRequest>,
  options: SimulateOptions = {},
): SimulationResult {
  checkOptions("simulate", SIMULATE_OPTIONS, options);
  return replay(resolveConfig(config), requests, options);
}

/** Replays requests through the limits of a resolved configuration. */
export function replay(
  config: LimitedConfig,
  requests: Iterable<SimulatedRequest>,
  { maxRefusals = 10_000, maxKeys = 1_000_000 }: SimulateOptions = {},
): SimulationResult {
  const clock = new VirtualClock();
  const tally = new Tally(allPolicies(config), maxRefusals);
  const missing = new MissingParts(config);
  using limits = new SimulatedLimits(config, clock, maxKeys);
  using permits = new PermitsInTime();
  for (const request of requests) {
    permits.releaseUntil(request.atMs, (endMs) => clock.advanceTo(endMs));
    clock.advanceTo(request.atMs);
    const context = new SimulatedContext(request, tally.requests + 1);
    const { route, taken, limiter } = limits.find(context);
    limits.keyless.clear();
    const decision = limiter === null ? null : limiter.check(context);
    missing.count(request, route?.name ?? null, taken, limits.keyless);
    if (limiter === null || decision === null || decision.kind === "unlimited") {
      tally.admit(request.atMs, []);
      continue;
    }
    if (decision.kind === "limited") {
      tally.refuse(request.atMs, decision, keyOf(limiter, context, decision));
      continue;
    }
    tally.admit(request.atMs, decision.wouldRefuse);
    if (decision.lease === null && decision.due === null) continue;
    const end = (): void => {
      limiter.settle(decision, context);
      decision.lease?.[Symbol.dispose]();
    };
    permits.hold({ [Symbol.dispose]: end }, request.atMs + (request.durationMs ?? 0));
  }
  return {
    ...tally.result(),
    withoutKey: missing.withoutKey,
    unrouted: missing.unrouted,
    notes: missing.notes(),
  };
}

function keyOf(limiter: RateLimiter, context: SimulatedContext, decision: LimitedDecision): string | null {
  if (decision.reason === "missing-key") return null;
  return limiter.peek(context).find(({ policy }) => policy === decision.policy)?.key ?? null;
}

/** Counts admitted and refused requests. */
class Tally {
  readonly #maxRefusals: number;
  readonly #byPolicy: Record<string, number>;
  readonly #byKey = new Map<string, KeyRefusals>();
  readonly #refusals: SimulatedRefusal[] = [];
  requests = 0;
  #refused = 0;
  #lastAtMs = 0;

  constructor(policies: readonly ResolvedPolicy[], maxRefusals: number) {
    this.#maxRefusals = maxRefusals;
    this.#byPolicy = Object.fromEntries(policies.map(({ name }) => [name, 0]));
  }

  admit(atMs: number, wouldRefuse: readonly string[]): void {
    this.#count(atMs);
    for (const name of wouldRefuse) this.#byPolicy[name] = (this.#byPolicy[name] ?? 0) + 1;
  }

  refuse(atMs: number, decision: LimitedDecision, key: string | null): void {
    this.#count(atMs);
    this.#refused++;
    for (const name of decision.violated) this.#byPolicy[name] = (this.#byPolicy[name] ?? 0) + 1;
    const { policy: { name: policy }, retryAfterMs } = decision;
    if (this.#refusals.length < this.#maxRefusals) this.#refusals.push({ atMs, policy, key, retryAfterMs });
    const id = JSON.stringify([policy, key]);
    const known = this.#byKey.get(id);
    if (known === undefined) {
      this.#byKey.set(id, { policy, key, refused: 1, firstAtMs: atMs, lastAtMs: atMs });
    } else {
      known.refused++;
      known.lastAtMs = atMs;
    }
  }

  result(): Omit<SimulationResult, "withoutKey" | "unrouted" | "notes"> {
    return {
      requests: this.requests,
      admitted: this.requests - this.#refused,
      refused: this.#refused,
      durationMs: this.#lastAtMs,
      byPolicy: this.#byPolicy,
      byKey: [...this.#byKey.values()].sort((a, b) => b.refused - a.refused || a.firstAtMs - b.firstAtMs),
      refusals: this.#refusals,
    };
  }

  #count(atMs: number): void {
    this.requests++;
    this.#lastAtMs = atMs;
  }
}

// The report of a replay.

/**
 * Formats the result as text: a summary line, a table of policies, a table of refused keys, and the notes.
 *
 * @param top number of keys to list
 */
export function reportSimulation(
  result: SimulationResult,
  policies: readonly ResolvedPolicy[],
  top: number,
): string {
  const { requests, refused, durationMs, byPolicy, byKey, notes } = result;
  const whole = `${formatCount(requests)} requests in ${formatMoment(durationMs)}: ` +
    `${formatCount(requests - refused)} admitted, ${formatCount(refused)} refused${share(refused, requests)}`;
  const remarks = notes.map((note) => `${printable(note, 200)}\n`).join("");
  if (policies.length === 0) return `${whole}\nThe configuration has no limits.\n${remarks}`;
  const tiers = policies.map(({ name, dryRun }) => [
    name,
    formatCount(byPolicy[name] ?? 0) + (dryRun ? " (dry run)" : ""),
    formatCount(byKey.filter(({ policy }) => policy === name).length),
  ]);
  const tables = [table(["policy", "refused", "keys"], tiers)];
  if (byKey.length > 0) {
    const rows = byKey.slice(0, top).map(({ policy, key, refused, firstAtMs, lastAtMs }) => [
      key === null ? "(none)" : printable(key),
      policy,
      formatCount(refused),
      formatMoment(firstAtMs),
      formatMoment(lastAtMs),
    ]);
    tables.push(table(["key", "policy", "refused", "first at", "last at"], rows));
  }
  if (byKey.length > top) tables.push(`and ${formatCount(byKey.length - top)} more (--top N lists more)`);
  return `${whole}\n\n${tables.join("\n\n")}\n${remarks === "" ? "" : `\n${remarks}`}`;
}

/** Formats a time of the trace to the millisecond, such as `9m 59.466s`. */
function formatMoment(ms: number): string {
  const minutes = Math.floor(Math.round(ms) / 60_000);
  const seconds = ((Math.round(ms) - minutes * 60_000) / 1000).toFixed(3);
  return minutes === 0 ? `${seconds}s` : `${minutes}m ${seconds.padStart(6, "0")}s`;
}

function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}

function share(part: number, whole: number): string {
  return part === 0 ? "" : ` (${(100 * part / whole).toFixed(1)} %)`;
}

/** Replaces control characters: keys are texts of clients, and a terminal would execute escape sequences. */
function printable(text: string, length = 60): string {
  // deno-lint-ignore no-control-regex
  const plain = text.replaceAll(/[\x00-\x1f\x7f-\x9f]/g, "?");
  return plain.length > length ? `${plain.slice(0, length - 3)}...` : plain;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]!.length))
  );
  return [head, ...rows]
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd())
    .join("\n");
}
