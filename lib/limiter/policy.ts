/** One limit as an operator writes it, and as the limiter uses it. */

import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/duration.ts";
import {
  type CompiledKey,
  compileKey,
  KEY_SPEC_EXPECTED,
  type KeySource,
  type KeySpec,
  parseKeySpec,
} from "./key_spec.ts";

/** How requests are counted. */
export type AlgorithmName = "fixed-window" | "sliding-window" | "token-bucket" | "concurrency";

/** Which fields tell a client about its limits; `limit_headers.ts` says what each looks like. */
export type HeaderStyle = "x-rate-limit" | "draft-11" | "draft-7" | "draft-6" | "x-ratelimit";

/** What becomes of a request that has no key. */
export type MissingKeyAction = "skip" | "reject" | "ip";

/** A number, or a function of the key and the request's context that gives it. */
export type KeyedNumber<Ctx extends KeySource = KeySource> = number | ((key: string, ctx: Ctx) => number);

/**
 * How often something may happen, for each key.
 *
 * A function of the configuration that throws, or gives something else than a number of at least 0, fails the request
 * with a `FilterError` (500) before anything is counted: neither letting such a request pass nor calling it too many
 * would be true. `Infinity` as a limit means that this key is not limited by the policy.
 */
export interface LimiterPolicy<Ctx extends KeySource = KeySource> {
  /**
   * What the policy is called in header fields, metrics and logs; printable ASCII, unique among the policies of a
   * limiter. Counts go on across a reload for as long as the name stays.
   *
   * @default {"default"} then `"default-2"`, `"default-3"`, ... by position
   */
  name?: string;
  /** What is counted separately. */
  key: KeySpec<Ctx>;
  /** How many in each window; at once, for `"concurrency"`. 0 refuses everything. */
  limit: KeyedNumber<Ctx>;
  /**
   * Length of the window. For `"concurrency"` the longest that a request holds its place when nobody gives it back,
   * as after a worker died; `"1h"` when left out. Required otherwise.
   */
  window?: Duration;
  /** How requests are counted. @default {"fixed-window"} */
  algorithm?: AlgorithmName;
  /**
   * For `"token-bucket"`: how many at once after a pause, the capacity of the bucket.
   *
   * @default {limit}
   */
  burst?: KeyedNumber<Ctx>;
  /** How much one request counts. @default {1} */
  cost?: number | ((ctx: Ctx) => number);
  /**
   * What becomes of a request without key: not limited by this policy, refused, or counted by its client's address
   * (and not limited where there is none).
   *
   * @default {"skip"}
   */
  onMissingKey?: MissingKeyAction;
  /** Requests that this policy does not apply to. */
  exempt?: (ctx: Ctx) => boolean;
  /** Decides and counts but refuses nobody. @default {false} */
  dryRun?: boolean;
  /** Counts refused requests too, so that who does not slow down stays locked out. @default {false} */
  penalize?: boolean;
  /** Fields that tell a client about the limit; `false` for none but `Retry-After`. @default {["x-rate-limit", "draft-11"]} */
  headers?: readonly HeaderStyle[] | false;
  /** Bits of an IPv6 address that count as one client. @default {64} */
  ipv6Prefix?: number;
}

/** A policy with every default filled in. */
export interface ResolvedPolicy {
  /** See {@linkcode LimiterPolicy.name}. */
  readonly name: string;
  /** The key as it was written. */
  readonly keySpec: KeySpec;
  /** The key as a function. */
  readonly key: CompiledKey;
  /** See {@linkcode LimiterPolicy.limit}. */
  readonly limit: KeyedNumber;
  /** Length of the window. */
  readonly windowMs: number;
  /** See {@linkcode LimiterPolicy.algorithm}. */
  readonly algorithm: AlgorithmName;
  /** `null`: as much as the limit. */
  readonly burst: KeyedNumber | null;
  /** See {@linkcode LimiterPolicy.cost}. */
  readonly cost: number | ((ctx: KeySource) => number);
  /** See {@linkcode LimiterPolicy.onMissingKey}. */
  readonly onMissingKey: MissingKeyAction;
  /** See {@linkcode LimiterPolicy.exempt}; `null` when nobody is. */
  readonly exempt: ((ctx: KeySource) => boolean) | null;
  /** See {@linkcode LimiterPolicy.dryRun}. */
  readonly dryRun: boolean;
  /** See {@linkcode LimiterPolicy.penalize}. */
  readonly penalize: boolean;
  /** See {@linkcode LimiterPolicy.headers}. */
  readonly headers: readonly HeaderStyle[];
  /** See {@linkcode LimiterPolicy.ipv6Prefix}. */
  readonly ipv6Prefix: number;
}

/** Something wrong with a policy. */
export interface PolicyProblem {
  /** Option it is about, such as `limit`. */
  readonly option: string;
  /** What was found and what is accepted. */
  readonly message: string;
}

const ALGORITHMS: readonly AlgorithmName[] = [
  "fixed-window",
  "sliding-window",
  "token-bucket",
  "concurrency",
];
const HEADER_STYLES: readonly HeaderStyle[] = [
  "x-rate-limit",
  "draft-11",
  "draft-7",
  "draft-6",
  "x-ratelimit",
];
const MISSING_KEY_ACTIONS: readonly MissingKeyAction[] = ["skip", "reject", "ip"];
const DEFAULT_HEADERS: readonly HeaderStyle[] = Object.freeze<HeaderStyle[]>(["x-rate-limit", "draft-11"]);

/** Longest window; the clock of the shared table turns over after twice this. */
const MAX_WINDOW_MS = 366 * 86_400_000;
/** Largest limit; more could not be counted exactly over a long window. */
const MAX_LIMIT = 1_000_000_000;
const MAX_NAME_LENGTH = 64;
const DEFAULT_LEASE = "1h";

/** Names of all options, for the layer that looks for misspelt ones. */
export const POLICY_OPTIONS: readonly (keyof LimiterPolicy)[] = [
  "name",
  "key",
  "limit",
  "window",
  "algorithm",
  "burst",
  "cost",
  "onMissingKey",
  "exempt",
  "dryRun",
  "penalize",
  "headers",
  "ipv6Prefix",
];

function shown(value: unknown): string {
  if (typeof value === "function") return "a function";
  if (typeof value === "number" || value === undefined) return String(value);
  return JSON.stringify(value) ?? typeof value;
}

function isCount(value: unknown, least: number): boolean {
  return typeof value === "function" ||
    (Number.isSafeInteger(value) && value as number >= least && value as number <= MAX_LIMIT);
}

function isPolicyName(value: unknown): boolean {
  return typeof value === "string" && value.length <= MAX_NAME_LENGTH &&
    /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value);
}

function isStyles(value: unknown): value is readonly HeaderStyle[] | false {
  return value === false || (Array.isArray(value) && value.every((style) => HEADER_STYLES.includes(style)));
}

function quoted(values: readonly string[]): string {
  return values.map((value) => JSON.stringify(value)).join(", ");
}

/** Lists everything that is wrong with a policy, as it stands in a configuration; empty when nothing is. */
export function findPolicyProblems(value: unknown): PolicyProblem[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return [{
      option: "",
      message: `received ${shown(value)}, expected an object with key, limit and window`,
    }];
  }
  const policy = value as Partial<Record<keyof LimiterPolicy, unknown>>;
  const problems: PolicyProblem[] = [];
  const expect = (option: keyof LimiterPolicy, good: boolean, expected: string): void => {
    if (!good) problems.push({ option, message: `received ${shown(policy[option])}, expected ${expected}` });
  };
  const isOptional = (option: keyof LimiterPolicy, type: string): boolean =>
    policy[option] === undefined || typeof policy[option] === type;
  const { name, key, limit, window, algorithm = "fixed-window", burst, cost = 1, onMissingKey = "skip" } =
    policy;
  const { headers = DEFAULT_HEADERS, ipv6Prefix = 64 } = policy;

  expect(
    "name",
    name === undefined || isPolicyName(name),
    `printable ASCII, at most ${MAX_NAME_LENGTH} characters`,
  );
  expect("key", parseKeySpec(key) !== undefined, KEY_SPEC_EXPECTED);
  expect("limit", isCount(limit, 0), `a whole number from 0 to ${MAX_LIMIT}, or a function`);
  const windowMs = window === undefined && algorithm === "concurrency" ? 1 : parseDuration(window);
  const windowGood = windowMs !== undefined && windowMs >= 1 && windowMs <= MAX_WINDOW_MS;
  expect("window", windowGood, `${DURATION_EXPECTED}, from 1ms to 366d`);
  expect("algorithm", ALGORITHMS.includes(algorithm as AlgorithmName), `one of ${quoted(ALGORITHMS)}`);
  expect(
    "burst",
    burst === undefined || isCount(burst, 1),
    `a whole number from 1 to ${MAX_LIMIT}, or a function`,
  );
  if (burst !== undefined && algorithm !== "token-bucket") {
    problems.push({ option: "burst", message: 'only the algorithm "token-bucket" has a burst' });
  }
  expect("cost", isCount(cost, 0), `a whole number from 0 to ${MAX_LIMIT}, or a function`);
  const actions = MISSING_KEY_ACTIONS;
  expect("onMissingKey", actions.includes(onMissingKey as MissingKeyAction), `one of ${quoted(actions)}`);
  expect("exempt", isOptional("exempt", "function"), "a function");
  expect("dryRun", isOptional("dryRun", "boolean"), "true or false");
  expect("penalize", isOptional("penalize", "boolean"), "true or false");
  expect("headers", isStyles(headers), `false or an array of ${quoted(HEADER_STYLES)}`);
  if (
    isStyles(headers) && headers !== false && headers.filter((style) => style.startsWith("draft-")).length > 1
  ) {
    problems.push({
      option: "headers",
      message: "the drafts use the same fields differently: choose one of them",
    });
  }
  const prefixGood = Number.isInteger(ipv6Prefix) && ipv6Prefix as number >= 1 && ipv6Prefix as number <= 128;
  expect("ipv6Prefix", prefixGood, "a whole number from 1 to 128");
  return problems;
}

/**
 * Fills in the defaults of a policy.
 *
 * @param index position among the policies of its limiter, for the default name
 * @throws {TypeError} when something is wrong with it, naming all of it
 */
export function resolvePolicy<Ctx extends KeySource>(policy: LimiterPolicy<Ctx>, index = 0): ResolvedPolicy {
  const problems = findPolicyProblems(policy);
  if (problems.length > 0) {
    const list = problems.map(({ option, message }) => option === "" ? message : `${option}: ${message}`);
    throw new TypeError(`Cannot use a limiter policy: ${list.join("; ")}`);
  }
  const {
    name = index === 0 ? "default" : `default-${index + 1}`,
    key,
    limit,
    window = DEFAULT_LEASE,
    algorithm = "fixed-window",
    burst = null,
    cost = 1,
    onMissingKey = "skip",
    exempt = null,
    dryRun = false,
    penalize = false,
    headers = DEFAULT_HEADERS,
    ipv6Prefix = 64,
  } = policy;
  // The functions are only ever called with the object that the caller of `check` hands in, which is a `Ctx`.
  return Object.freeze<ResolvedPolicy>({
    name,
    keySpec: key as KeySpec,
    key: compileKey(key, { ipv6Prefix }),
    limit: limit as KeyedNumber,
    windowMs: parseDuration(window)!,
    algorithm,
    burst: burst as KeyedNumber | null,
    cost: cost as ResolvedPolicy["cost"],
    onMissingKey,
    exempt: exempt as ResolvedPolicy["exempt"],
    dryRun,
    penalize,
    headers: headers === false ? [] : Object.freeze([...headers]),
    ipv6Prefix,
  });
}

/**
 * Fills in the defaults of all policies of a limiter.
 *
 * @throws {TypeError} when something is wrong with one, or two have the same name
 */
export function resolvePolicies<Ctx extends KeySource>(
  policies: LimiterPolicy<Ctx> | readonly (LimiterPolicy<Ctx> | ResolvedPolicy)[],
): readonly ResolvedPolicy[] {
  const list: readonly (LimiterPolicy<Ctx> | ResolvedPolicy)[] = isList(policies) ? policies : [policies];
  const resolved = list.map((policy, index) => "windowMs" in policy ? policy : resolvePolicy(policy, index));
  const names = new Set<string>();
  for (const { name } of resolved) {
    if (names.has(name)) {
      throw new TypeError(
        `Cannot use two limiter policies with the name ${JSON.stringify(name)}: give one another name`,
      );
    }
    names.add(name);
  }
  return Object.freeze(resolved);
}

function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value);
}
