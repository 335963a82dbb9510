/** Calls to functions of the user: results are checked, and errors do not end the process. */

import { describeValue } from "./describe_value.ts";

/** Ignores the rejection of a value that is dropped: an unhandled rejection would end the process. */
export function dropPromise(value: unknown): void {
  if (value instanceof Promise) value.catch(() => {});
}

/**
 * Rejects the result of a function that must not be async.
 *
 * @throws {TypeError} when the result is a promise; its rejection is ignored
 */
export function refusePromise<Value>(value: Value): Value {
  if (!(value instanceof Promise)) return value;
  dropPromise(value);
  throw new TypeError("it must not be async, returned a promise");
}

/**
 * Returns the result of a function that returns yes or no; no result means no.
 *
 * Other values are rejected: a promise, or a function that was not called by mistake, would mean yes for every request.
 *
 * @throws {TypeError} when the result is another value
 */
export function checkedBoolean(value: unknown): boolean {
  if (typeof value === "boolean") return value;
  if (value === undefined || value === null) return false;
  throw unexpected("true or false", value);
}

/** The error for an invalid result of a function. */
export function unexpected(expected: string, value: unknown): TypeError {
  dropPromise(value);
  return new TypeError(`it must return ${expected}, returned ${describeValue(value)}`);
}

/** Calls a function without waiting for its result; errors and rejections are passed to `failed`. */
export function callAside(call: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = call();
    if (result instanceof Promise) result.catch(failed);
  } catch (error) {
    failed(error);
  }
}

/**
 * Reports on `stderr` that a function of a program threw, if there is no log.
 *
 * `reportError` would end a program that does not listen to the event.
 */
export function tellStrayError(name: string, error: unknown): void {
  // deno-lint-ignore no-console
  console.error(`${name} threw: ${messageOf(error)}`.replaceAll(/\p{Cc}/gu, "?"));
}

/** The message of a thrown value; never throws, whatever the value is. */
export function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? String(error.message) : String(error);
  } catch {
    return "something that cannot be written";
  }
}

/** The stack of a thrown value; `null` if there is none. */
export function stackOf(error: unknown): string | null {
  try {
    return error instanceof Error && typeof error.stack === "string" ? error.stack : null;
  } catch {
    return null;
  }
}
