/** Promises where none is taken. */

/** Sees to it that a value that is refused can be let go: a promise that rejects unheard would end the process. */
export function dropPromise(value: unknown): void {
  if (value instanceof Promise) value.catch(() => {});
}
