/** Full load for a long time. */

import { usageOf } from "../proxy/process_tree.ts";
import type { RunningProgram } from "../proxy/running_program.ts";
import type { Scenario } from "../proxy/scenarios.ts";
import { runWrk } from "../proxy/wrk.ts";

/** Duration and number of connections. */
export interface SoakOptions {
  readonly connections: number;
  readonly minutes: number;
  readonly directory: string;
  /** Receives a message every half minute. */
  readonly say: (line: string) => void;
}

const SLICE_SECONDS = 30;

/** Resident memory of a program, in MiB. */
export function rssMiB(program: RunningProgram): number {
  return Math.round(usageOf(program.pid).rssBytes / 2 ** 20);
}

/** Loads the program for the given time, and reports its memory. */
export async function soak(
  program: RunningProgram,
  scenario: Scenario,
  { connections, minutes, directory, say }: SoakOptions,
): Promise<void> {
  let requests = 0;
  const slices = Math.ceil(minutes * 60 / SLICE_SECONDS);
  for (let slice = 1; slice <= slices; slice++) {
    const result = await runWrk(program.port, scenario, { connections, seconds: SLICE_SECONDS, directory });
    requests += result.requests;
    say(`${slice * SLICE_SECONDS} s, ${requests} requests: ${rssMiB(program)} MiB`);
  }
}
