/** Measures all programs under all loads, in turn, several times. */

import { measure, type Measurement } from "./measure.ts";
import type { RunningPeer } from "./start_peers.ts";
import type { Scenario } from "./scenarios.ts";
import type { Load } from "./wrk.ts";

/** The measurements of one program under one load, one per round. */
export interface Series {
  readonly peer: string;
  readonly scenario: string;
  readonly rounds: Measurement[];
}

/** Number and duration of measurements. */
export interface RoundOptions extends Load {
  readonly rounds: number;
  /** How long each program is loaded before each measurement, in seconds. */
  readonly warmUpSeconds: number;
  readonly directory: string;
  /** Receives progress messages. */
  readonly say: (line: string) => void;
}

/** Whether a program takes part in a scenario. */
export function takesPart({ scenarios }: RunningPeer["peer"], { name, special }: Scenario): boolean {
  return scenarios === undefined ? !special : scenarios.includes(name);
}

/**
 * Measures all programs. In a round, every program is measured under one load before the next load, so that other work of
 * the machine affects all of them. The order of programs is reversed in each round.
 *
 * A program is loaded briefly before it is measured: the system reclaims memory from idle processes, and restoring it costs
 * large ones most (measured: 2.6 times nginx instead of 1.8 at 10 KiB).
 */
export async function runRounds(
  peers: readonly RunningPeer[],
  scenarios: readonly Scenario[],
  options: RoundOptions,
): Promise<Series[]> {
  const series = new Map<string, Series>();
  const { rounds, warmUpSeconds, say } = options;
  for (let round = 1; round <= rounds; round++) {
    const order = round % 2 === 1 ? peers : peers.toReversed();
    for (const { running, scenario } of turns(order, scenarios)) {
      await measure(running.program, scenario, { ...options, seconds: warmUpSeconds });
      const measurement = await measure(running.program, scenario, options);
      const key = `${scenario.name} ${running.peer.name}`;
      const own = series.get(key) ?? { peer: running.peer.name, scenario: scenario.name, rounds: [] };
      series.set(key, own);
      own.rounds.push(measurement);
      say(`${round}/${rounds} ${scenario.title} ${running.peer.title}: ${measurement.cpuUs.toFixed(1)} us`);
    }
  }
  return [...series.values()];
}

function* turns(
  peers: readonly RunningPeer[],
  scenarios: readonly Scenario[],
): Generator<{ running: RunningPeer; scenario: Scenario }> {
  for (const scenario of scenarios) {
    for (const running of peers) {
      if (takesPart(running.peer, scenario)) yield { running, scenario };
    }
  }
}
