/** Checks limiter policies and fills in their defaults. */

import { describeValue } from "../core/describe_value.ts";
import {
  checkOptions,
  choose,
  duration,
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
import { parseDuration } from "../core/units.ts";
import { CIDR, CidrList } from "../http/ip_address.ts";
import { compileKey, KEY_SPEC, type KeySource, type KeySpec } from "./key_spec.ts";
import {
  type AlgorithmName,
  DEFAULT_HEADERS,
  DEFAULT_MAX_KEYS,
  type HeaderStyle,
  type LimiterPolicy,
  MAX_LIMIT,
  MAX_POLICIES,
  type MissingKeyAction,
  type ResolvedPolicy,
} from "./policy.ts";
import { resolveStore, STORE } from "./redis_store_options.ts";
import { MAX_KEYS } from "./table_layout.ts";

const DEFAULT_LEASE = "1h";

/**
 * Fills in the defaults of a policy.
 *
 * @param index position among the policies of the limiter, for the default name
 * @param scope see {@linkcode resolvePolicies}
 * @throws {TypeError} when the policy is invalid; the message lists all problems
 */
function resolvePolicy<Ctx extends KeySource>(
  policy: LimiterPolicy<Ctx>,
  index = 0,
  scope = "",
): ResolvedPolicy {
  checkOptions("use a limiter policy", POLICY, policy);
  const {
    name = defaultName(index, scope),
    key,
    limit,
    window = DEFAULT_LEASE,
    algorithm = "fixed-window",
    burst = null,
    cost = 1,
    charge = null,
    onMissingKey = "skip",
    exempt = null,
    dryRun = false,
    penalize = false,
    keepAlive = false,
    headers = DEFAULT_HEADERS,
    ipv6Prefix = 64,
    maxKeys = DEFAULT_MAX_KEYS,
    store = "memory",
    response = null,
  } = policy;
  const networks = Array.isArray(exempt) ? new CidrList(exempt) : null;
  // The functions are only called with the object passed to `check`, which is a `Ctx`.
  return Object.freeze<ResolvedPolicy>({
    name,
    scope,
    keySpec: key as KeySpec,
    key: compileKey(key, { ipv6Prefix }),
    limit: limit as ResolvedPolicy["limit"],
    windowMs: parseDuration(window)!,
    algorithm,
    burst: burst as ResolvedPolicy["burst"],
    cost: cost as ResolvedPolicy["cost"],
    charge: charge as ResolvedPolicy["charge"],
    onMissingKey,
    exempt: networks === null ? exempt as ResolvedPolicy["exempt"] : ({ clientIp }) => networks.has(clientIp),
    exemptNetworks: networks?.entries ?? null,
    dryRun,
    penalize,
    keepAlive,
    headers: headers === false ? [] : Object.freeze([...headers]),
    ipv6Prefix,
    maxKeys,
    store: resolveStore(store),
    response: response as ResolvedPolicy["response"],
  });
}

/**
 * Fills in the defaults of all policies of a limiter.
 *
 * @param scope name of the policies' route; `""` for policies of the whole proxy
 * @throws {TypeError} when a policy is invalid, or two have the same name
 */
export function resolvePolicies<Ctx extends KeySource>(
  policies: LimiterPolicy<Ctx> | readonly (LimiterPolicy<Ctx> | ResolvedPolicy)[],
  scope = "",
): readonly ResolvedPolicy[] {
  const list: readonly (LimiterPolicy<Ctx> | ResolvedPolicy)[] = isList(policies) ? policies : [policies];
  const resolved = list.map((policy, index) =>
    "windowMs" in policy ? policy : resolvePolicy(policy, index, scope)
  );
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

function defaultName(index: number, scope: string): string {
  const first = scope === "" ? "default" : scope;
  return index === 0 ? first : `${first}-${index + 1}`;
}

function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value);
}

// The rules of limits: the options of one policy, and of several together.

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

/** Longest window; the clock of the shared table wraps around after twice this time. */
const MAX_WINDOW_MS = 366 * 86_400_000;
const MAX_NAME_LENGTH = 64;

/** The expected value of a policy, for error messages. */
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
  window: duration((ms) => ms >= 1 && ms <= MAX_WINDOW_MS, "from 1ms to 366 days long", 1000),
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
export const POLICY: Rule = object<LimiterPolicy>(POLICY_RULES, POLICY_EXPECTED, {
  check: checkPolicy,
  otherNames: {
    key: ["keyGenerator", "keyBy", "by", "identifier"],
    limit: ["max", "rate", "points", "events", "requests", "quota"],
    window: ["windowMs", "interval", "period", "duration", "per", "timeWindow"],
    name: ["zone", "id"],
    onMissingKey: ["missingKey"],
    exempt: ["skip", "whitelist", "allowlist", "except"],
    response: ["handler", "message"],
  },
});

const TIERS = list(POLICY, "an array of policies");

/** One policy, or several policies that must all admit a request. */
export const LIMITER: Rule = (value: unknown, report: Report): void => {
  if (isRecord(value)) return POLICY(value, report);
  if (!Array.isArray(value)) return reject(value, `${POLICY_EXPECTED}, or an array of these`, report);
  TIERS(value, report);
  checkTiers(value, report);
};

/** Checks combinations of options in one policy. */
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

/** Checks combinations of policies. */
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

/** The name of a policy, or its default name. */
function nameOf({ name }: Unchecked<LimiterPolicy>, index: number): unknown {
  return name ?? (index === 0 ? "default" : `default-${index + 1}`);
}

/** The store of a policy as text, for comparison. */
function storeOf({ store }: Unchecked<LimiterPolicy>): string {
  if (!isRecord(store)) return "memory";
  // JSON cannot represent a bigint; its own rule reports it.
  return JSON.stringify(store, (_, value) => typeof value === "bigint" ? String(value) : value);
}

function isDraft(style: unknown): boolean {
  return typeof style === "string" && style.startsWith("draft-");
}

function isPolicyName(value: string): boolean {
  return value.length <= MAX_NAME_LENGTH && /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value);
}
