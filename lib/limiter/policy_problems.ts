/** The rules of limits: what may be said of a policy, and of several beside each other. */

import {
  choose,
  FLAG,
  FUNCTION,
  isRecord,
  isWhole,
  list,
  must,
  object,
  orFalse,
  reject,
  type Report,
  required,
  type Rule,
  type Rules,
  text,
  type Unchecked,
  whole,
  word,
} from "../core/options.ts";
import { describeValue } from "../core/describe_value.ts";
import { DURATION_EXPECTED, parseDuration } from "../core/units.ts";
import { CIDR } from "../http/ip_address.ts";
import { KEY_SPEC } from "./key_spec.ts";
import {
  type AlgorithmName,
  DEFAULT_HEADERS,
  DEFAULT_MAX_KEYS,
  type HeaderStyle,
  type LimiterPolicy,
  MAX_LIMIT,
  MAX_POLICIES,
  type MissingKeyAction,
} from "./policy.ts";
import { STORE } from "./redis_store_options.ts";
import { MAX_KEYS } from "./table_layout.ts";

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

/** What stands in place of a policy, for error messages. */
const POLICY_EXPECTED = 'an object with "key", "limit" and "window"';

function wholeOrFunction(least: number): Rule {
  return must(
    (value) => typeof value === "function" || isWhole(value, least, MAX_LIMIT),
    `a whole number from ${least} to ${MAX_LIMIT}, or a function`,
  );
}

const POLICY_RULES: Rules<LimiterPolicy> = {
  name: text(`a name of at most ${MAX_NAME_LENGTH} printable ASCII characters`, isPolicyName),
  key: required(KEY_SPEC),
  limit: required(wholeOrFunction(0)),
  window: must(
    isWindow,
    (value) => parseDuration(value) === undefined ? DURATION_EXPECTED : "from 1ms to 366 days long",
  ),
  algorithm: word(ALGORITHMS),
  burst: wholeOrFunction(1),
  cost: wholeOrFunction(0),
  charge: FUNCTION,
  onMissingKey: word(MISSING_KEY_ACTIONS),
  exempt: choose((value) =>
    typeof value === "function" ? FUNCTION : list(CIDR, "a function or an array of networks")
  ),
  dryRun: FLAG,
  penalize: FLAG,
  keepAlive: FLAG,
  headers: orFalse(list(word(HEADER_STYLES), `false or an array of ${HEADER_STYLES.join(", ")}`)),
  ipv6Prefix: whole(1, 128),
  maxKeys: whole(1, MAX_KEYS),
  store: STORE,
  response: FUNCTION,
};

/** Names of all options. */
export const POLICY_OPTIONS: readonly string[] = Object.freeze(Object.keys(POLICY_RULES));

/** One policy. */
export const POLICY: Rule = object<LimiterPolicy>(POLICY_RULES, POLICY_EXPECTED, { check: checkPolicy });

const TIERS = list(POLICY, "an array of policies");

/** One policy, or several that all have to admit a request. */
export const LIMITER: Rule = (value: unknown, report: Report): void => {
  if (isRecord(value)) return POLICY(value, report);
  if (!Array.isArray(value)) return reject(value, `${POLICY_EXPECTED}, or an array of these`, report);
  TIERS(value, report);
  checkTiers(value, report);
};

/** What is good by itself and does not go together. */
function checkPolicy(policy: Unchecked<LimiterPolicy>, report: Report): void {
  const { algorithm = "fixed-window", window, burst, charge, penalize, cost, headers, limit } = policy;
  const concurrent = algorithm === "concurrency";
  if (window === undefined && !concurrent) report("is required", "window");
  if (burst !== undefined && algorithm !== "token-bucket") {
    report('is only for the algorithm "token-bucket"', "burst");
  }
  if (charge !== undefined && concurrent) {
    report("is not for concurrency, which gives its permits back by itself", "charge");
  }
  if (penalize === true && concurrent) {
    report("is not for concurrency: a refused request holds no permit", "penalize");
  }
  const most = algorithm === "token-bucket" && burst !== undefined ? burst : limit;
  if (typeof cost === "number" && typeof most === "number" && most > 0 && cost > most) {
    report(`is ${cost} and never fits a limit of ${most}`, "cost");
  }
  if (Array.isArray(headers) && headers.filter(isDraft).length > 1) {
    report("must name one draft at most: they use the same fields differently", "headers");
  }
}

/** What policies that are good by themselves say against each other. */
function checkTiers(tiers: readonly unknown[], report: Report): void {
  if (tiers.length === 0 || tiers.length > MAX_POLICIES) {
    report(`must have from 1 to ${MAX_POLICIES} policies, has ${tiers.length}`);
  }
  const policies = Array.from(tiers, (tier): Unchecked<LimiterPolicy> => isRecord(tier) ? tier : {});
  const keys = policies.reduce(
    (sum, { maxKeys }) => sum + (Number(maxKeys) > 0 ? Number(maxKeys) : DEFAULT_MAX_KEYS),
    0,
  );
  if (keys > MAX_KEYS) report(`must have at most ${MAX_KEYS} keys together (maxKeys), has ${keys}`);
  const stores = policies.map(storeOf);
  const names = policies.map(nameOf);
  const drafts = policies.map(({ headers = DEFAULT_HEADERS }) =>
    Array.isArray(headers) ? headers.find(isDraft) : undefined
  );
  const drafting = drafts.findIndex((draft) => draft !== undefined);
  policies.forEach((_policy, i) => {
    if (stores[i] !== stores[0]) {
      report(
        "must be like that of [0]: all policies of a limiter are decided about in one place",
        i,
        "store",
      );
    }
    const first = names.indexOf(names[i]);
    if (first !== i) report(`is ${describeValue(names[i])}, like that of [${first}]`, i, "name");
    if (drafts[i] === undefined || drafts[i] === drafts[drafting]) return;
    const others = `and [${drafting}] "${drafts[drafting]}": they use the same fields differently`;
    report(`names "${drafts[i]}", ${others}`, i, "headers");
  });
}

/** The name that a policy has or gets. */
function nameOf({ name }: Unchecked<LimiterPolicy>, index: number): unknown {
  return name ?? (index === 0 ? "default" : `default-${index + 1}`);
}

/** Where a policy counts, to be compared. */
function storeOf({ store }: Unchecked<LimiterPolicy>): string {
  if (!isRecord(store)) return "memory";
  // What JSON has no word for is told of by its own rule.
  return JSON.stringify(store, (_, value) => typeof value === "bigint" ? String(value) : value);
}

function isDraft(style: unknown): boolean {
  return typeof style === "string" && style.startsWith("draft-");
}

function isWindow(value: unknown): boolean {
  const windowMs = parseDuration(value);
  return windowMs !== undefined && windowMs >= 1 && windowMs <= MAX_WINDOW_MS;
}

function isPolicyName(value: string): boolean {
  return value.length <= MAX_NAME_LENGTH && /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value);
}
