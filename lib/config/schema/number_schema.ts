/** The schemas of numbers. */

import * as v from "valibot";
import { mustBe } from "./messages.ts";

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
