/** Finds options of a ready-made filter that it does not have, or lacks. */

import { unknownKeyMessage } from "../config/schema/options_object.ts";

/**
 * Checks the names of options, which nothing else finds in a configuration without types.
 *
 * @param filter name of the filter, for the message
 * @param known every option that it has, and whether it is required
 * @throws {TypeError} for the first that it does not have, for one that is missing, or when there are no options at all
 */
export function checkOptions(
  filter: string,
  options: unknown,
  known: Readonly<Record<string, boolean>>,
): void {
  const fail = (problem: string) => new TypeError(`Cannot make the filter ${filter}: ${problem}`);
  const names = Object.keys(known);
  if (typeof options !== "object" || options === null) {
    throw fail(`it takes an object with ${names.map((name) => `"${name}"`).join(", ")}`);
  }
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(known, name)) throw fail(`"${name}" ${unknownKeyMessage(name, names)}`);
  }
  for (const name of names) {
    if (known[name] && (options as Record<string, unknown>)[name] === undefined) {
      throw fail(`"${name}" is required`);
    }
  }
}
