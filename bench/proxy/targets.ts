/** What the project promises of its cost, and whether a run has kept it. */

import type { Series } from "./run_rounds.ts";
import { median, ratiosTo } from "./summarise.ts";

interface Target {
  readonly scenario: string;
  readonly peer: string;
  /** What it is compared with, in the same scenario unless another is named. */
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
  // Each refusal here makes the client connect anew.
  { scenario: "429", peer: "lbproxy-refusing", beside: "lbproxy", besideScenario: "12b", atMost: 0.6 },
];

/** One target and what was measured. */
export interface Verdict {
  readonly scenario: string;
  readonly peer: string;
  readonly beside: string;
  readonly atMost: number;
  /** Median over the rounds of one's CPU a request beside the other's. */
  readonly measured: number;
}

/** Compares a run with the targets whose both sides took part in it. */
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
