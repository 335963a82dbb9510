/** The command `lbproxy simulate`. */

import { loadConfig } from "../config/load_config.ts";
import { seededRandom } from "../core/random.ts";
import { escapeControls } from "../observe/text_format.ts";
import { generateTraffic, type SimulatedRequest } from "../simulator/simulated_request.ts";
import { readTrace, TraceError } from "../simulator/read_trace.ts";
import { reportSimulation } from "../simulator/report_simulation.ts";
import { replay } from "../simulator/simulate.ts";
import { allPolicies } from "../config/resolve_routes.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import type { SimulateCommand } from "./parse_simulate_arguments.ts";

/**
 * Replays a trace, or traffic that is made up, and returns what to print.
 *
 * @throws {ConfigError} when the configuration cannot be used
 * @throws {TraceError} when the trace cannot be read
 */
export async function runSimulation(command: SimulateCommand): Promise<string> {
  const { config } = await loadConfig(command.source);
  const policies = allPolicies(config);
  const result = replay(config, await requestsOf(command, policies));
  return command.json
    ? `${escapeControls(JSON.stringify(result))}\n`
    : reportSimulation(result, policies, command.top);
}

async function requestsOf(
  { trace, traffic, seed }: SimulateCommand,
  policies: readonly ResolvedPolicy[],
): Promise<Iterable<SimulatedRequest>> {
  if (traffic !== null) return generateTraffic({ ...traffic, random: seededRandom(seed) }, policies);
  return readTrace(await readText(trace!), trace!);
}

async function readText(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    const reason = cause instanceof Deno.errors.NotFound ? "there is no such file" : String(cause);
    throw new TraceError(`Cannot replay ${path}: ${reason}`, { cause });
  }
}
