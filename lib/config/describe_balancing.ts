/** The choice of servers in plain words. */

import type { BalanceName } from "../balancer/create_algorithm.ts";
import { formatDuration } from "../core/duration.ts";
import type { ResolvedEjection } from "../health/ejection_options.ts";
import type { ResolvedHealthCheck } from "../health/health_check_options.ts";
import type { ResolvedBalancing } from "./balancing_options.ts";
import { describeKey } from "./describe_key.ts";

const WAYS: Readonly<Record<BalanceName, string>> = {
  "round-robin": "in turn, by weight",
  "random": "at random, by weight",
  "least-connections": "to the server with the fewest requests in flight, by weight",
  "p2c": "to the less busy of two servers drawn by weight",
  "ewma": "to the faster of two servers drawn by weight",
  "consistent-hash": "by consistent hash",
  "fnv-hash": "by hash",
  "first": "to the first server that can take it",
};

/** Says how servers are found, chosen and watched; the beginning of each line names what it is about. */
export function describeBalancing(balancing: ResolvedBalancing): readonly string[] {
  const { discovery, slowStart, panicThreshold, healthCheck, ejection } = balancing;
  const lines = [
    `balance   ${describeWay(balancing)}`,
    `checks    ${healthCheck === null ? "none: every server counts as healthy" : describeCheck(healthCheck)}`,
    `ejection  ${ejection === null ? "never" : describeEjection(ejection)}`,
  ];
  if (discovery !== null) {
    const { source, intervalMs, timeoutMs } = discovery;
    const pace = `every ${formatDuration(intervalMs)}, each time within ${formatDuration(timeoutMs)}`;
    lines.unshift(`servers   found ${source}, ${pace}`);
  }
  if (slowStart !== null) {
    const { durationMs, floor } = slowStart;
    const share = `begin with ${percent(floor)} of their share and have all of it after`;
    lines.push(`start     servers that were added or recover ${share} ${formatDuration(durationMs)}`);
  }
  if (panicThreshold > 0) {
    lines.push(`panic     all servers are used when less than ${percent(panicThreshold)} of them are up`);
  }
  return [...lines, ...describeRoom(balancing)];
}

function describeWay({ balance, key, loadFactor }: ResolvedBalancing): string {
  if (typeof balance === "function") return "by balance()";
  const hashed = key === null ? "" : ` of the ${describeKey(key.spec)}; without it in turn`;
  const bound = loadFactor === Infinity
    ? ""
    : `; a server with more than ${loadFactor} times its share passes requests on`;
  return `${WAYS[balance]}${hashed}${bound}`;
}

function describeCheck(check: ResolvedHealthCheck): string {
  const { intervalMs, unhealthyIntervalMs, timeoutMs, rise, fall, initial } = check;
  const unhealthy = unhealthyIntervalMs === intervalMs
    ? ""
    : ` (${formatDuration(unhealthyIntervalMs)} while unhealthy)`;
  const first = initial === "checking" ? "" : `; counted as ${initial} before the first one`;
  return `${describeTarget(check)} every ${formatDuration(intervalMs)}${unhealthy} within ${
    formatDuration(timeoutMs)
  }; unhealthy after ${counted(fall, "failure", "failures")}, healthy after ${
    counted(rise, "success", "successes")
  }${first}`;
}

function describeTarget({ subject, port }: ResolvedHealthCheck): string {
  return port === null ? subject : `${subject} to port ${port}`;
}

function describeEjection(ejection: ResolvedEjection): string {
  const { consecutiveFailures, failureRate, minRequests, windowMs, baseMs, maxMs, maxEjectedPercent } =
    ejection;
  const reasons: string[] = [];
  if (consecutiveFailures !== Infinity) {
    reasons.push(`after ${counted(consecutiveFailures, "failure", "failures")} in a row`);
  }
  if (failureRate <= 1) {
    reasons.push(
      `when ${percent(failureRate)} of at least ${minRequests} requests in ${formatDuration(windowMs)} fail`,
    );
  }
  if (reasons.length === 0) return "never";
  const time = `for ${formatDuration(baseMs)}, longer each time up to ${formatDuration(maxMs)}`;
  return `${reasons.join(" or ")}, ${time}; at most ${maxEjectedPercent}% of the servers, never the last one`;
}

function describeRoom({ maxInFlight, queue }: ResolvedBalancing): readonly string[] {
  const lines = maxInFlight === Infinity
    ? []
    : [`room      at most ${counted(maxInFlight, "request", "requests")} at all servers together`];
  if (queue !== null) {
    const wait = `up to ${counted(queue.size, "request waits", "requests wait")} for ${
      formatDuration(queue.timeoutMs)
    }`;
    lines.push(`queue     ${wait} while servers are full; others are refused`);
  }
  return lines;
}

function percent(share: number): string {
  return `${Math.round(share * 1000) / 10}%`;
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
