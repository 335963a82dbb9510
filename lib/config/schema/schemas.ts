/** What schemas are made of: messages, numbers, sizes, durations, functions, objects of options. */

import { BYTE_SIZE_EXPECTED, DURATION_EXPECTED, parseByteSize, parseDuration } from "../../core/units.ts";
import { describeKind, describeValue } from "../../core/describe_value.ts";
import type { Filters } from "../../filter/filters.ts";
import { nearestName } from "../nearest_name.ts";
import * as v from "valibot";

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

/** Whether the value is an object with keys: neither an array nor a function, nor one that comes later. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Promise);
}

/** What is said of a key that nothing reads. */
export function unknownKeyMessage(key: string, known: readonly string[]): string {
  const nearest = nearestName(key, known);
  if (nearest !== undefined) return `is not a known key, did you mean "${nearest}"?`;
  return `is not a known key; known are ${known.map((name) => `"${name}"`).join(", ")}`;
}

/** A step of a path of valibot, for problems that a check finds by itself. */
export function pathItem(input: unknown, key: string | number): v.IssuePathItem {
  return { type: "unknown", origin: "value", input, key, value: undefined };
}

/**
 * An object with the given options and no others; all problems in it are reported, not the first one.
 *
 * @param expected what the object is, for the message when there is none: `an object with "servers"`
 * @param explain says of a key that it is not known
 */
export function optionsObject<Entries extends v.ObjectEntries>(
  entries: Entries,
  expected: string,
  explain: (key: string) => string = (key) => unknownKeyMessage(key, Object.keys(entries)),
): v.GenericSchema<unknown, Record<string, unknown>> {
  return v.pipe(
    v.custom<Record<string, unknown>>(isRecord, mustBe(expected)),
    // Only for keys that are not there: a value that is there is judged by its own schema.
    v.looseObject(entries, "is required"),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!isRecord(dataset.value)) return;
      for (const key of Object.keys(dataset.value)) {
        if (Object.hasOwn(entries, key)) continue;
        addIssue({ message: explain(key), path: [pathItem(dataset.value, key)] });
      }
    }),
  ) as unknown as v.GenericSchema<unknown, Record<string, unknown>>;
}

/** A whole number between two others, both included. */
export function wholeNumberSchema(least: number, most: number): v.GenericSchema<unknown, number> {
  const expected = most === Number.MAX_SAFE_INTEGER
    ? `a whole number of at least ${least}`
    : `a whole number from ${least} to ${most}`;
  return v.custom<number>(
    (value) => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most,
    mustBe(expected),
  ) as v.GenericSchema<unknown, number>;
}

/** A whole number, or `Infinity` for no limit. */
export function limitSchema(least: number): v.GenericSchema<unknown, number> {
  return v.custom<number>(
    (value) => value === Infinity || (Number.isSafeInteger(value) && (value as number) >= least),
    mustBe(`a whole number of at least ${least}, or Infinity`),
  ) as v.GenericSchema<unknown, number>;
}

/** A number that satisfies a condition; never NaN. */
export function numberSchema(
  isGood: (value: number) => boolean,
  expected: string,
): v.GenericSchema<unknown, number> {
  return v.custom<number>(
    (value) => typeof value === "number" && isGood(value),
    mustBe(expected),
  ) as v.GenericSchema<unknown, number>;
}

/** A share of something. */
export const shareSchema: v.GenericSchema<unknown, number> = numberSchema(
  (value) => value >= 0 && value <= 1,
  "a number from 0 to 1",
);

/** A share of something that is not nothing. */
export const positiveShareSchema: v.GenericSchema<unknown, number> = numberSchema(
  (value) => value > 0 && value <= 1,
  "a number above 0 and at most 1",
);

/** A TCP port that can be connected to. */
export const portSchema: v.GenericSchema<unknown, number> = wholeNumberSchema(1, 65535);

/** A size between two others, both included. */
export function byteSizeSchema(least: number, most: number): v.GenericSchema<unknown, number | string> {
  return v.custom<number | string>(
    (value) => {
      const bytes = parseByteSize(value);
      return bytes !== undefined && bytes >= least && bytes <= most;
    },
    mustBe(`${BYTE_SIZE_EXPECTED}, from ${least} to ${most}`),
  );
}

/** Any duration, zero too. */
export const durationSchema = v.custom<number | string>(
  (value) => parseDuration(value) !== undefined,
  mustBe(DURATION_EXPECTED),
);

/** A duration that is longer than nothing. */
export const positiveDurationSchema = v.pipe(
  durationSchema,
  v.check((value) => parseDuration(value)! > 0, mustBe("longer than 0")),
);

/** A function, or nothing. */
export const functionSchema = v.optional(
  v.custom((value) => typeof value === "function", mustBe("a function")),
);

/** The phases, each of them a function. */
export const filterEntries = {
  newContext: functionSchema,
  requestFilter: functionSchema,
  requestBodyFilter: functionSchema,
  upstreamPeer: functionSchema,
  upstreamRequestFilter: functionSchema,
  failToConnect: functionSchema,
  upstreamResponseFilter: functionSchema,
  responseFilter: functionSchema,
  responseBodyFilter: functionSchema,
  failToProxy: functionSchema,
  ownResponseFilter: functionSchema,
  logging: functionSchema,
} satisfies Record<keyof Filters, v.GenericSchema>;

/** Filter sets, in order. */
export const filterSetsSchema: v.GenericSchema = v.array(
  optionsObject(filterEntries, "an object of phases"),
  mustBe("an array of objects of phases"),
);
