/** What can be wrong with a policy. */

import { DURATION_EXPECTED, parseDuration } from "../core/units.ts";
import { expectedCidr } from "../http/ip_address.ts";
import { KEY_SPEC_EXPECTED, parseKeySpec } from "./key_spec.ts";
import {
  type AlgorithmName,
  type HeaderStyle,
  type LimiterPolicy,
  MAX_LIMIT,
  type MissingKeyAction,
} from "./policy.ts";
import { findStoreProblems } from "./redis_store_options.ts";
import { MAX_KEYS } from "./table_layout.ts";

/** Something wrong with a policy. */
interface PolicyProblem {
  /** Option it is about, such as `limit`. */
  readonly option: string;
  /** The way from there on: entries of a list, options of an option. */
  readonly rest?: readonly (number | string)[];
  /** What is accepted and what was found, to be read after the option. */
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

/** Longest window; the clock of the shared table turns over after twice this. */
const MAX_WINDOW_MS = 366 * 86_400_000;
const MAX_NAME_LENGTH = 64;

/** Most bits of an IPv6 address. */
const MAX_PREFIX = 128;

/** What an option must be. */
interface OptionRule {
  readonly expected: string | ((value: unknown) => string);
  readonly accepts: (value: unknown) => boolean;
  readonly required?: boolean;
}

const COUNT = `a whole number from 0 to ${MAX_LIMIT}, or a function`;

const RULES: Readonly<Record<keyof LimiterPolicy, OptionRule>> = {
  name: {
    expected: `a name of at most ${MAX_NAME_LENGTH} printable ASCII characters`,
    accepts: isPolicyName,
  },
  key: { expected: KEY_SPEC_EXPECTED, accepts: (value) => parseKeySpec(value) !== undefined, required: true },
  limit: {
    expected: COUNT,
    accepts: (value) => isFunction(value) || isWhole(value, 0, MAX_LIMIT),
    required: true,
  },
  window: { expected: expectedWindow, accepts: isWindow },
  algorithm: oneOf(ALGORITHMS),
  burst: {
    expected: `a whole number from 1 to ${MAX_LIMIT}, or a function`,
    accepts: (value) => isFunction(value) || isWhole(value, 1, MAX_LIMIT),
  },
  cost: { expected: COUNT, accepts: (value) => isFunction(value) || isWhole(value, 0, MAX_LIMIT) },
  charge: { expected: "a function", accepts: isFunction },
  onMissingKey: oneOf(MISSING_KEY_ACTIONS),
  exempt: {
    expected: "a function or an array of networks",
    accepts: (value) => isFunction(value) || Array.isArray(value),
  },
  dryRun: { expected: "true or false", accepts: isBoolean },
  penalize: { expected: "true or false", accepts: isBoolean },
  keepAlive: { expected: "true or false", accepts: isBoolean },
  headers: { expected: `false or an array of ${quoted(HEADER_STYLES)}`, accepts: isStyles },
  ipv6Prefix: {
    expected: `a whole number from 1 to ${MAX_PREFIX}`,
    accepts: (value) => isWhole(value, 1, MAX_PREFIX),
  },
  maxKeys: {
    expected: `a whole number from 1 to ${MAX_KEYS}`,
    accepts: (value) => isWhole(value, 1, MAX_KEYS),
  },
  // What is wrong with it is found by its own file.
  store: { expected: "a store", accepts: () => true },
  response: { expected: "a function", accepts: isFunction },
};

/** Names of all options, for the layer that looks for misspelt ones. */
export const POLICY_OPTIONS = Object.freeze(Object.keys(RULES)) as readonly (keyof LimiterPolicy)[];

/** What stands in place of a policy, for error messages. */
export const POLICY_EXPECTED = 'an object with "key", "limit" and "window"';

/**
 * Lists everything that is wrong with a policy, as it stands in a configuration; empty when nothing is.
 *
 * Keys that are no options are not its business.
 */
export function findPolicyProblems(value: unknown): PolicyProblem[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return [{ option: "", message: `must be ${POLICY_EXPECTED}, received ${shown(value)}` }];
  }
  const policy = value as Partial<Record<keyof LimiterPolicy, unknown>>;
  const problems: PolicyProblem[] = [];
  for (const option of POLICY_OPTIONS) {
    const message = problemOf(RULES[option], policy[option]);
    if (message !== null) problems.push({ option, message });
  }
  const { exempt, store } = policy;
  return [
    ...problems,
    ...findExemptProblems(exempt),
    ...findStoreProblems(store).map(({ path, message }) => ({ option: "store", rest: path, message })),
    ...findContradictions(policy),
  ];
}

function problemOf({ expected, accepts, required = false }: OptionRule, found: unknown): string | null {
  if (found === undefined) return required ? "is required" : null;
  if (accepts(found)) return null;
  return `must be ${typeof expected === "string" ? expected : expected(found)}, received ${shown(found)}`;
}

function findExemptProblems(exempt: unknown): PolicyProblem[] {
  if (!Array.isArray(exempt)) return [];
  return exempt.flatMap((entry, i) => {
    const expected = expectedCidr(entry);
    if (expected === undefined) return [];
    return [{ option: "exempt", rest: [i], message: `must be ${expected}, received ${shown(entry)}` }];
  });
}

/** What is good by itself and does not go together. */
function findContradictions(policy: Partial<Record<keyof LimiterPolicy, unknown>>): PolicyProblem[] {
  const { algorithm = "fixed-window", window, burst, charge, penalize, cost, headers, limit } = policy;
  const problems: PolicyProblem[] = [];
  const concurrent = algorithm === "concurrency";
  if (window === undefined && !concurrent) problems.push({ option: "window", message: "is required" });
  if (burst !== undefined && algorithm !== "token-bucket") {
    problems.push({ option: "burst", message: 'is only for the algorithm "token-bucket"' });
  }
  if (charge !== undefined && concurrent) {
    problems.push({
      option: "charge",
      message: "is not for concurrency, which gives its places back by itself",
    });
  }
  if (penalize === true && concurrent) {
    problems.push({
      option: "penalize",
      message: "is not for concurrency: a refused request holds no place",
    });
  }
  const most = algorithm === "token-bucket" && burst !== undefined ? burst : limit;
  if (typeof cost === "number" && typeof most === "number" && most > 0 && cost > most) {
    problems.push({ option: "cost", message: `is ${cost} and never fits a limit of ${most}` });
  }
  if (isStyles(headers) && headers !== false && headers.filter(isDraft).length > 1) {
    problems.push({
      option: "headers",
      message: "must name one draft at most: they use the same fields differently",
    });
  }
  return problems;
}

function isDraft(style: HeaderStyle): boolean {
  return style.startsWith("draft-");
}

function oneOf(words: readonly string[]): OptionRule {
  return { expected: `one of ${quoted(words)}`, accepts: (value) => words.includes(value as string) };
}

function expectedWindow(value: unknown): string {
  return parseDuration(value) === undefined ? DURATION_EXPECTED : "from 1ms to 366 days long";
}

function isWindow(value: unknown): boolean {
  const windowMs = parseDuration(value);
  return windowMs !== undefined && windowMs >= 1 && windowMs <= MAX_WINDOW_MS;
}

function isFunction(value: unknown): boolean {
  return typeof value === "function";
}

function isBoolean(value: unknown): boolean {
  return typeof value === "boolean";
}

function isWhole(value: unknown, least: number, most: number): boolean {
  return Number.isSafeInteger(value) && value as number >= least && value as number <= most;
}

function isPolicyName(value: unknown): boolean {
  return typeof value === "string" && value.length <= MAX_NAME_LENGTH &&
    /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value);
}

function isStyles(value: unknown): value is readonly HeaderStyle[] | false {
  return value === false || (Array.isArray(value) && value.every((style) => HEADER_STYLES.includes(style)));
}

function quoted(words: readonly string[]): string {
  return words.map((word) => JSON.stringify(word)).join(", ");
}

function shown(value: unknown): string {
  if (typeof value === "string") {
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}...` : value);
  }
  if (typeof value === "function") return "a function";
  if (Array.isArray(value)) return value.length === 0 ? "an empty array" : "an array";
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
