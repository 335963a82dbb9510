/** Policies with every default filled in. */

import { parseDuration } from "../core/units.ts";
import { checkOptions } from "../core/options.ts";
import { CidrList } from "../http/ip_address.ts";
import { compileKey, type KeySource, type KeySpec } from "./key_spec.ts";
import {
  DEFAULT_HEADERS,
  DEFAULT_MAX_KEYS,
  type KeyedNumber,
  type LimiterPolicy,
  type ResolvedPolicy,
} from "./policy.ts";
import { POLICY } from "./policy_problems.ts";
import { resolveStore } from "./redis_store_options.ts";

const DEFAULT_LEASE = "1h";

/**
 * Fills in the defaults of a policy.
 *
 * @param index position among the policies of its limiter, for the default name
 * @param scope see {@linkcode resolvePolicies}
 * @throws {TypeError} when something is wrong with it, naming all of it
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
  // The functions are only ever called with the object that the caller of `check` hands in, which is a `Ctx`.
  return Object.freeze<ResolvedPolicy>({
    name,
    scope,
    keySpec: key as KeySpec,
    key: compileKey(key, { ipv6Prefix }),
    limit: limit as KeyedNumber,
    windowMs: parseDuration(window)!,
    algorithm,
    burst: burst as KeyedNumber | null,
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
 * @param scope name of the route whose policies they are; `""` for those of the whole proxy
 * @throws {TypeError} when something is wrong with one, or two have the same name
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
