/** The functions of a policy, called with care. */

import { checkedBoolean, unexpected } from "../core/callback.ts";
import { FilterError } from "../core/errors.ts";
import { checkedKey, type KeySource } from "./key_spec.ts";
import { MAX_LIMIT, type ResolvedPolicy } from "./policy.ts";

/**
 * Whether the policy does not apply to the request.
 *
 * @throws {FilterError} when the function throws, or returns neither true, false nor nothing
 */
export function callExempt(
  policy: ResolvedPolicy,
  exempt: NonNullable<ResolvedPolicy["exempt"]>,
  source: KeySource,
): boolean {
  try {
    return checkedBoolean(exempt(source));
  } catch (error) {
    throw new FilterError(phaseOf(policy, "exempt"), error);
  }
}

/**
 * The key of the request.
 *
 * @throws {FilterError} when the function throws or returns no key
 */
export function callKey(policy: ResolvedPolicy, source: KeySource): string | null {
  try {
    return checkedKey(policy.key(source));
  } catch (error) {
    throw new FilterError(phaseOf(policy, "key"), error);
  }
}

/**
 * A limit or a burst, for a key; `Infinity` where it may have no end.
 *
 * @throws {FilterError} when the function throws or returns what could not stand in its place
 */
export function callKeyed(
  policy: ResolvedPolicy,
  option: "limit" | "burst",
  value: ResolvedPolicy["limit"],
  key: string,
  source: KeySource,
): number {
  if (typeof value === "number") return value;
  try {
    return checkedCount(option, value(key, source));
  } catch (error) {
    throw new FilterError(phaseOf(policy, option), error);
  }
}

/**
 * A cost, before the request or after it.
 *
 * @throws {FilterError} when the function throws or returns what cannot be counted
 */
export function callCost(
  policy: ResolvedPolicy,
  option: "cost" | "charge",
  value: ResolvedPolicy["cost"],
  source: KeySource,
): number {
  if (typeof value === "number") return value;
  try {
    return checkedCost(value(source));
  } catch (error) {
    throw new FilterError(phaseOf(policy, option), error);
  }
}

/** As strict as a number in the configuration: with a fraction, or beyond what is exact, more would get through. */
function checkedCount(option: "limit" | "burst", value: unknown): number {
  if (typeof value === "number" && value >= 0) {
    if (value <= MAX_LIMIT && Number.isInteger(value)) return value;
    if (value === Infinity && option === "limit") return value;
  }
  throw unexpected(
    `a whole number from 0 to ${MAX_LIMIT}${option === "limit" ? ", or Infinity" : ""}`,
    value,
  );
}

/** Bytes, milliseconds and parts of them: parts count in full, and nothing counts more than the largest limit. */
function checkedCost(value: unknown): number {
  if (typeof value === "number" && value >= 0 && value <= Number.MAX_SAFE_INTEGER) {
    return Math.min(Math.ceil(value), MAX_LIMIT);
  }
  throw unexpected(`a number from 0 to ${Number.MAX_SAFE_INTEGER}`, value);
}

function phaseOf(policy: ResolvedPolicy, option: string): string {
  return `${option} of the limiter policy ${JSON.stringify(policy.name)}`;
}
