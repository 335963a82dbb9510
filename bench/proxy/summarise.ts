/** From many measurements to one figure each. */

import type { Measurement } from "./measure.ts";
import type { Series } from "./run_rounds.ts";

/** What is told of one peer under one load: medians. */
export interface Summary extends Measurement {
  readonly peer: string;
  readonly scenario: string;
  /** `cpuUs` beside nginx's under the same load in the same round; `null` when nginx was not there. */
  readonly ratio: number | null;
  /** The smallest and the largest of those ratios. */
  readonly ratioRange: readonly [number, number] | null;
}

/** The peer that the others are compared with. */
export const BASELINE = "nginx";
/** For scenarios that the baseline takes no part in: the one whose proxied requests stand beside them. */
const BASELINE_SCENARIO = "12b";

/** The value in the middle; of an even number, the mean of the two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Medians of every series. */
export function summarise(all: readonly Series[]): Summary[] {
  return all.map((series) => {
    const { peer, scenario, rounds } = series;
    const of = (key: keyof Measurement): number => median(rounds.map((round) => round[key]));
    const ratios = ratiosTo(baselineOf(series, all), series);
    return {
      peer,
      scenario,
      cpuUs: of("cpuUs"),
      requestsPerSecond: of("requestsPerSecond"),
      p50Ms: of("p50Ms"),
      p99Ms: of("p99Ms"),
      rssMiB: of("rssMiB"),
      ratio: ratios.length === 0 ? null : median(ratios),
      ratioRange: ratios.length === 0 ? null : [Math.min(...ratios), Math.max(...ratios)],
    };
  });
}

function baselineOf({ scenario }: Series, all: readonly Series[]): Series | undefined {
  const find = (wanted: string) => all.find((each) => each.peer === BASELINE && each.scenario === wanted);
  return find(scenario) ?? find(BASELINE_SCENARIO);
}

/** Round by round: what slows the machine for a while slows both. */
export function ratiosTo(baseline: Series | undefined, { rounds }: Series): number[] {
  if (baseline === undefined) return [];
  const ratios: number[] = [];
  for (let i = 0; i < Math.min(rounds.length, baseline.rounds.length); i++) {
    ratios.push(rounds[i]!.cpuUs / baseline.rounds[i]!.cpuUs);
  }
  return ratios;
}
