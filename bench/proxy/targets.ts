/** The targets of the project for its cost, and whether a run meets them. */

import type { Series } from "./run_rounds.ts";
import { median, ratiosTo } from "./summarise.ts";

interface Target {
  readonly scenario: string;
  readonly peer: string;
  /** The program to compare with, in the same scenario unless another is named. */
  readonly beside: string;
  readonly besideScenario?: string;
  readonly atMost: number;
}

const TARGETS: readonly Target[] = [
  { scenario: "12b", peer: "lbproxy", beside: "nginx", atMost: 1.7 },
  { scenario: "12b", peer: "lbproxy", beside: "lbproxy-fetch", atMost: 0.5 },
  { scenario: "12b", peer: "lbproxy", beside: "caddy", atMost: 0.45 },
  { scenario: "12b", peer: "lbproxy", beside: "node-http", atMost: 0.45 },
  { scenario: "12b", peer: "lbproxy-limiter", beside: "lbproxy", atMost: 1.05 },
  { scenario: "10k", peer: "lbproxy", beside: "nginx", atMost: 1.7 },
  { scenario: "100k", peer: "lbproxy", beside: "nginx", atMost: 1.2 },
  { scenario: "1m", peer: "lbproxy", beside: "nginx", atMost: 1.2 },
  { scenario: "post", peer: "lbproxy", beside: "nginx", atMost: 2 },
  { scenario: "429", peer: "lbproxy-refusing-kept", beside: "lbproxy", besideScenario: "12b", atMost: 0.6 },
  // Each refusal closes the connection, so the client connects again.
  { scenario: "429", peer: "lbproxy-refusing", beside: "lbproxy", besideScenario: "12b", atMost: 0.6 },
];

/** A target and its measurement. */
export interface Verdict {
  readonly scenario: string;
  readonly peer: string;
  readonly beside: string;
  readonly atMost: number;
  /** Ratio of the CPU per request, as the median over the rounds. */
  readonly measured: number;
}

/** Compares a run with the targets for which both programs took part. */
export function judge(all: readonly Series[]): Verdict[] {
  const verdicts: Verdict[] = [];
  const find = (peer: string, scenario: string) =>
    all.find((series) => series.peer === peer && series.scenario === scenario);
  for (const { scenario, peer, beside, besideScenario = scenario, atMost } of TARGETS) {
    const own = find(peer, scenario);
    const other = find(beside, besideScenario);
    if (own === undefined || other === undefined) continue;
    verdicts.push({ scenario, peer, beside, atMost, measured: median(ratiosTo(other, own)) });
  }
  return verdicts;
}
