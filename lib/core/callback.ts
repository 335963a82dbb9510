/** Functions of the user: what they return is looked at, and what goes wrong in them ends nothing. */

import { describeValue } from "./describe_value.ts";

/** Sees to it that a value that is refused can be let go: a promise that rejects unheard would end the process. */
export function dropPromise(value: unknown): void {
  if (value instanceof Promise) value.catch(() => {});
}

/**
 * Refuses the result of a function that must not be async.
 *
 * @throws {TypeError} when it is a promise, whose rejection nobody hears of any more
 */
export function refusePromise<Value>(value: Value): Value {
  if (!(value instanceof Promise)) return value;
  dropPromise(value);
  throw new TypeError("it must not be async, returned a promise");
}

/**
 * Takes the result of a function that says yes or no; nothing is no.
 *
 * Anything else is refused, since a promise, or a function that somebody forgot to call, would be a yes for everybody.
 *
 * @throws {TypeError} when it is something else
 */
export function checkedBoolean(value: unknown): boolean {
  if (typeof value === "boolean") return value;
  if (value === undefined || value === null) return false;
  throw unexpected("true or false", value);
}

/** The error of a function that returned something else than it must. */
export function unexpected(expected: string, value: unknown): TypeError {
  dropPromise(value);
  return new TypeError(`it must return ${expected}, returned ${describeValue(value)}`);
}

/** Calls a function whose result nobody waits for; what it throws, or rejects with, goes to `failed`. */
export function callAside(call: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = call();
    if (result instanceof Promise) result.catch(failed);
  } catch (error) {
    failed(error);
  }
}

/**
 * Tells on `stderr` that a function of a program threw where there is no log.
 *
 * `reportError` would end a program that does not listen to the event.
 */
export function tellStrayError(name: string, error: unknown): void {
  // deno-lint-ignore no-console
  console.error(`${name} threw: ${messageOf(error)}`.replaceAll(/\p{Cc}/gu, "?"));
}

/** What was thrown, in words; never throws, whatever it is. */
export function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? String(error.message) : String(error);
  } catch {
    return "something that cannot be written";
  }
}

/** Where it was thrown; `null` when that is not known. */
export function stackOf(error: unknown): string | null {
  try {
    return error instanceof Error && typeof error.stack === "string" ? error.stack : null;
  } catch {
    return null;
  }
}
