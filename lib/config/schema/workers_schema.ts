/** The schema of the number of workers. */

import * as v from "valibot";
import { mustBe } from "./messages.ts";

/** Most workers; each is a process. */
export const MAX_WORKERS = 32;

/** What is accepted. */
export const WORKERS_EXPECTED: string = `a whole number from 1 to ${MAX_WORKERS}, or "auto"`;

/** Whether it is a number of workers. */
export function isWorkers(value: unknown): value is number | "auto" {
  return value === "auto" || (Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_WORKERS);
}

/** The number of workers. */
export const workersSchema: v.GenericSchema<number | "auto"> = v.custom<number | "auto">(
  isWorkers,
  mustBe(WORKERS_EXPECTED),
);
