/** Formats results for a terminal. */

import type { Peer } from "./peer.ts";
import type { Scenario } from "./scenarios.ts";
import type { Summary } from "./summarise.ts";
import type { Verdict } from "./targets.ts";

/** A table for each scenario. */
export function summaryText(
  summaries: readonly Summary[],
  peers: readonly Peer[],
  scenarios: readonly Scenario[],
): string {
  const lines: string[] = [];
  for (const scenario of scenarios) {
    const own = summaries.filter((summary) => summary.scenario === scenario.name);
    if (own.length === 0) continue;
    lines.push(
      "",
      scenario.title.padEnd(32) + "CPU us/req  x nginx (range)      req/s    p50 ms    p99 ms   RSS MiB",
    );
    for (const peer of peers) {
      const summary = own.find((each) => each.peer === peer.name);
      if (summary !== undefined) lines.push(row(peer.title, summary));
    }
  }
  return lines.join("\n");
}

function row(title: string, summary: Summary): string {
  const { cpuUs, ratio, ratioRange, requestsPerSecond, p50Ms, p99Ms, rssMiB } = summary;
  const range = ratioRange === null ? "" : `(${ratioRange[0].toFixed(2)}-${ratioRange[1].toFixed(2)})`;
  return title.padEnd(32) + cpuUs.toFixed(1).padStart(10) + (ratio?.toFixed(2) ?? "-").padStart(9) + " " +
    range.padEnd(12) + requestsPerSecond.toFixed(0).padStart(9) + p50Ms.toFixed(2).padStart(10) +
    p99Ms.toFixed(2).padStart(10) + rssMiB.toFixed(0).padStart(10);
}

/** A line for each target. */
export function verdictText(verdicts: readonly Verdict[]): string {
  return verdicts.map(({ scenario, peer, beside, atMost, measured }) => {
    const word = measured <= atMost ? "kept  " : "MISSED";
    return `${word} ${scenario}: ${peer} / ${beside} = ${measured.toFixed(2)}, at most ${atMost}`;
  }).join("\n");
}
