/** What several filter sets keep of one request, together. */

/**
 * Makes one state of two: whichever is there, or one object with the members of both, the later ones over the earlier.
 *
 * @throws {TypeError} when there are two and one of them is no object
 */
export function mergeStates(first: unknown, second: unknown): unknown {
  if (first === undefined) return second;
  if (second === undefined) return first;
  if (!isObject(first) || !isObject(second)) {
    throw new TypeError("it must return an object where several filter sets have a newContext");
  }
  return { ...first, ...second };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
