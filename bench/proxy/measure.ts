/** Measures one program under load. */

import { usageOf } from "./process_tree.ts";
import type { RunningProgram } from "./running_program.ts";
import type { Scenario } from "./scenarios.ts";
import { type Load, runWrk } from "./wrk.ts";

/** The result of one run. */
export interface Measurement {
  /** Processor time per request of all processes of the program, in microseconds. */
  readonly cpuUs: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly rssMiB: number;
}

/** Loads the program, and measures its cost. */
export async function measure(
  program: RunningProgram,
  scenario: Scenario,
  load: Load & { readonly directory: string },
): Promise<Measurement> {
  const before = usageOf(program.pid);
  const { requests, seconds, p50Ms, p99Ms } = await runWrk(program.port, scenario, load);
  const after = usageOf(program.pid);
  return {
    cpuUs: (after.cpuSeconds - before.cpuSeconds) * 1e6 / requests,
    requestsPerSecond: requests / seconds,
    p50Ms,
    p99Ms,
    rssMiB: after.rssBytes / 2 ** 20,
  };
}
