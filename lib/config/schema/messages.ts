/** Messages of the schemas. */

import { describeKind, describeValue } from "../../core/describe_value.ts";

/** The part of a valibot issue that messages are made of. */
interface Issue {
  readonly input: unknown;
}

/** Writes words that one can choose from: `"a" or "b"`, `one of "a", "b", "c"`. */
export function oneOf(words: readonly string[]): string {
  const quoted = words.map((word) => `"${word}"`);
  return quoted.length < 3 ? quoted.join(" or ") : `one of ${quoted.join(", ")}`;
}

/** Makes messages such as `must be a function, received 5`; to be read after the path. */
export function mustBe(expected: string): (issue: Issue) => string {
  return ({ input }) => `must be ${expected}, received ${describeValue(input)}`;
}

/** The same without the value: for keys and certificates, which have no business in a log. */
export function mustBeSecret(expected: string): (issue: Issue) => string {
  return ({ input }) => `must be ${expected}, received ${describeKind(input)}`;
}
