/** The functions of a policy, called with care. */

import { dropPromise } from "../core/drop_promise.ts";
import { FilterError } from "../core/errors.ts";
import { checkedKey, type KeySource } from "./key_spec.ts";
import type { ResolvedPolicy } from "./policy.ts";

/**
 * Whether the policy does not apply to the request.
 *
 * @throws {FilterError} when the function throws, or is async: a promise would exempt everybody
 */
export function callExempt(
  policy: ResolvedPolicy,
  exempt: NonNullable<ResolvedPolicy["exempt"]>,
  source: KeySource,
): boolean {
  let exempted: unknown;
  try {
    exempted = exempt(source);
  } catch (error) {
    throw new FilterError(phaseOf(policy, "exempt"), error);
  }
  if (typeof exempted !== "object") return Boolean(exempted);
  if (exempted === null) return false;
  dropPromise(exempted);
  throw new FilterError(
    phaseOf(policy, "exempt"),
    new TypeError(`received ${String(exempted)}, expected true or false`),
  );
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
 * A limit or a burst, for a key.
 *
 * @throws {FilterError} when the function throws or returns no number of at least 0
 */
export function callKeyed(
  policy: ResolvedPolicy,
  option: "limit" | "burst",
  value: ResolvedPolicy["limit"],
  key: string,
  source: KeySource,
): number {
  if (typeof value === "number") return value;
  let number: unknown;
  try {
    number = value(key, source);
  } catch (error) {
    throw new FilterError(phaseOf(policy, option), error);
  }
  return checkedNumber(policy, option, number);
}

/**
 * A cost, before the request or after it.
 *
 * @throws {FilterError} when the function throws or returns no number of at least 0
 */
export function callCost(
  policy: ResolvedPolicy,
  option: "cost" | "charge",
  value: ResolvedPolicy["cost"],
  source: KeySource,
): number {
  if (typeof value === "number") return value;
  let number: unknown;
  try {
    number = value(source);
  } catch (error) {
    throw new FilterError(phaseOf(policy, option), error);
  }
  return checkedNumber(policy, option, number);
}

function checkedNumber(policy: ResolvedPolicy, option: string, value: unknown): number {
  if (typeof value === "number" && value >= 0) return value;
  dropPromise(value);
  throw new FilterError(
    phaseOf(policy, option),
    new RangeError(`received ${String(value)}, expected a number of at least 0`),
  );
}

function phaseOf(policy: ResolvedPolicy, option: string): string {
  return `${option} of the limiter policy ${JSON.stringify(policy.name)}`;
}
