/** Summarises many measurements by their medians. */

import type { Measurement } from "./measure.ts";
import type { Series } from "./run_rounds.ts";

/** The medians of one program under one load. */
export interface Summary extends Measurement {
  readonly peer: string;
  readonly scenario: string;
  /** Ratio of `cpuUs` to that of nginx under the same load in the same round; `null` without nginx. */
  readonly ratio: number | null;
  /** The smallest and the largest of those ratios. */
  readonly ratioRange: readonly [number, number] | null;
}

/** The program with which the others are compared. */
export const BASELINE = "nginx";
/** For scenarios without the baseline: the scenario whose baseline is used. */
const BASELINE_SCENARIO = "12b";

/** The median; for an even number of values, the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The medians of every series. */
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

/** The ratios by round, because a slower machine slows both. */
export function ratiosTo(baseline: Series | undefined, { rounds }: Series): number[] {
  if (baseline === undefined) return [];
  const ratios: number[] = [];
  for (let i = 0; i < Math.min(rounds.length, baseline.rounds.length); i++) {
    ratios.push(rounds[i]!.cpuUs / baseline.rounds[i]!.cpuUs);
  }
  return ratios;
}
