/** The schema of how servers are chosen, watched and found. */

import * as v from "valibot";
import { BALANCE_NAMES } from "../../balancer/create_algorithm.ts";
import type { QueueOptions } from "../../balancer/waiting_line.ts";
import type { EjectionOptions } from "../../health/ejection_options.ts";
import type { SlowStartOptions } from "../../health/slow_start.ts";
import { KEY_SPEC_EXPECTED, parseKeySpec } from "../../limiter/key_spec.ts";
import type { BalancingOptions } from "../balancing_options.ts";
import { discoverySchema } from "./discovery_schema.ts";
import { positiveDurationSchema } from "./duration_schema.ts";
import { functionSchema } from "./filters_schema.ts";
import { healthCheckSchema } from "./health_check_schema.ts";
import { mustBe, oneOf } from "./messages.ts";
import {
  limitSchema,
  numberSchema,
  positiveShareSchema,
  shareSchema,
  wholeNumberSchema,
} from "./number_schema.ts";
import { optionsObject, pathItem } from "./options_object.ts";

const ejectionEntries = {
  consecutiveFailures: v.optional(limitSchema(1)),
  failureRate: v.optional(
    numberSchema((value) => value > 0, "a number above 0; above 1 never counts the rate"),
  ),
  minRequests: v.optional(wholeNumberSchema(1, Number.MAX_SAFE_INTEGER)),
  window: v.optional(positiveDurationSchema),
  baseTime: v.optional(positiveDurationSchema),
  maxTime: v.optional(positiveDurationSchema),
  maxEjectedPercent: v.optional(
    numberSchema((value) => value >= 0 && value <= 100, "a number from 0 to 100"),
  ),
} satisfies Record<keyof EjectionOptions, v.GenericSchema>;

const slowStartEntries = {
  duration: positiveDurationSchema,
  floor: v.optional(positiveShareSchema),
} satisfies Record<keyof SlowStartOptions, v.GenericSchema>;

const queueEntries = {
  size: v.optional(wholeNumberSchema(1, Number.MAX_SAFE_INTEGER)),
  timeout: v.optional(positiveDurationSchema),
} satisfies Record<keyof QueueOptions, v.GenericSchema>;

/** Where requests wait. */
export const queueSchema: v.GenericSchema = optionsObject(
  queueEntries,
  'an object with "size" and "timeout"',
);

const ejectionSchema = optionsObject(ejectionEntries, "false or an object with options of ejection");

/** Options of a pool that say how its servers are chosen, watched and found. */
export const balancingEntries = {
  balance: v.optional(
    v.custom(
      (value) => typeof value === "function" || BALANCE_NAMES.some((name) => name === value),
      mustBe(`${oneOf(BALANCE_NAMES)}, or a function`),
    ),
  ),
  key: v.optional(v.custom((value) => parseKeySpec(value) !== undefined, mustBe(KEY_SPEC_EXPECTED))),
  loadFactor: v.optional(numberSchema((value) => value > 1, "a number above 1")),
  healthCheck: v.optional(healthCheckSchema),
  ejection: v.optional(v.lazy((input) => input === false ? v.literal(false) : ejectionSchema)),
  slowStart: v.optional(optionsObject(slowStartEntries, 'an object with a "duration"')),
  panicThreshold: v.optional(shareSchema),
  maxInFlight: v.optional(limitSchema(1)),
  queue: v.optional(queueSchema),
  discovery: v.optional(discoverySchema),
  onHealthChange: functionSchema,
} satisfies Record<keyof BalancingOptions, v.GenericSchema>;

/** Finds options that need or exclude each other; looks past whatever else is wrong. */
export function checkBalancing(
  pool: Record<string, unknown>,
  addIssue: v.RawCheckContext<unknown>["addIssue"],
): void {
  const { balance, key, loadFactor } = pool;
  const report = (option: string, message: string): void =>
    addIssue({ message, path: [pathItem(pool, option)] });
  const hashes = balance === "consistent-hash" || balance === "fnv-hash";
  if (hashes && key === undefined) report("key", `is required where "balance" is "${balance}"`);
  if (!hashes && key !== undefined) {
    report("key", 'is only for "balance": "consistent-hash" or "fnv-hash"');
  }
  if (balance !== "consistent-hash" && loadFactor !== undefined) {
    report("loadFactor", 'is only for "balance": "consistent-hash"');
  }
  if (pool.servers === undefined && pool.discovery === undefined) {
    report("servers", 'is required where there is no "discovery"');
  }
  if (pool.onHealthChange !== undefined && pool.healthCheck === undefined) {
    report("onHealthChange", 'is never called without a "healthCheck"');
  }
}
