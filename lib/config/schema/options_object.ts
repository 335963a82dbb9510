/** The schema of objects with named options. */

import * as v from "valibot";
import { nearestName } from "../nearest_name.ts";
import { mustBe } from "./messages.ts";

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
