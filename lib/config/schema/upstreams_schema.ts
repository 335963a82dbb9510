/** The schema of everything that requests can be sent to. */

import * as v from "valibot";
import { nearestName } from "../nearest_name.ts";
import { mustBe } from "./messages.ts";
import { isRecord, pathItem } from "./options_object.ts";
import { bareServersSchema, poolEntries, poolSchema } from "./pool_schema.ts";

const POOL_KEYS = Object.keys(poolEntries);
const POOL_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/** Names that the schema of records passes by, so that nothing looks at what stands there. */
const PASSED_BY: ReadonlySet<string> = new Set(["__proto__", "prototype", "constructor"]);

/** The pool of requests that nothing sends elsewhere. */
export const DEFAULT_POOL = "default";

/**
 * Whether an object is one pool and not pools by name: it has an option of pools, or a key that is a misspelt one
 * and does not hold a pool.
 */
export function isSinglePool(value: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(value).some(([key, entry]) => {
    if (isRecord(entry) && (Object.hasOwn(entry, "servers") || Object.hasOwn(entry, "discovery"))) {
      return false;
    }
    return POOL_KEYS.includes(key) || nearestName(key, POOL_KEYS) !== undefined;
  });
}

const namedPoolsSchema = v.pipe(
  v.unknown(),
  v.rawCheck(({ dataset: { value }, addIssue }) => {
    if (!isRecord(value)) return;
    for (const name of Object.keys(value).filter((each) => PASSED_BY.has(each))) {
      addIssue({ message: "is not a name for a pool", path: [pathItem(value, name)] });
    }
  }),
  v.record(
    v.pipe(
      v.string(),
      v.regex(POOL_NAME, 'is not a name for a pool: letters, digits, "-", "_" and "." are'),
    ),
    v.lazy((input) => Array.isArray(input) ? bareServersSchema : poolSchema),
  ),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!isRecord(dataset.value)) return;
    const names = Object.keys(dataset.value);
    if (names.length === 0) addIssue({ message: "must have at least one pool" });
  }),
);

const otherwiseSchema = v.custom(
  () => false,
  mustBe('an array of "host:port", an object with "servers", or either by name'),
);

/** Servers, one pool, or pools by name. */
export const upstreamsSchema: v.GenericSchema = v.lazy((input) => {
  if (Array.isArray(input)) return bareServersSchema;
  if (!isRecord(input)) return otherwiseSchema;
  return isSinglePool(input) ? poolSchema : namedPoolsSchema;
});
