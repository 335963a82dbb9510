/** The report of a run. */

import { describeMachine, type Machine } from "./machine.ts";
import type { BenchOptions } from "./options.ts";
import type { Series } from "./run_rounds.ts";
import type { RunningPeer } from "./start_peers.ts";
import { summarise, type Summary } from "./summarise.ts";
import { judge, type Verdict } from "./targets.ts";

/** The content of the JSON file. */
export interface Report {
  readonly date: string;
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly load: {
    readonly tool: "wrk";
    readonly rounds: number;
    readonly seconds: number;
    readonly connections: number;
  };
  readonly summaries: readonly Summary[];
  readonly targets: readonly Verdict[];
  readonly series: readonly Series[];
}

/** Makes the report of a run. */
export function makeReport(
  series: readonly Series[],
  peers: readonly RunningPeer[],
  { rounds, seconds, connections }: BenchOptions,
): Report {
  return {
    date: new Date().toISOString(),
    machine: describeMachine(),
    versions: Object.fromEntries(peers.map(({ peer, version }) => [peer.name, version])),
    load: { tool: "wrk", rounds, seconds, connections },
    summaries: summarise(series),
    targets: judge(series),
    series,
  };
}
