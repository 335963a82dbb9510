/** The load: wrk with one thread. */

import type { Scenario } from "./scenarios.ts";

/** Amount and duration of the load. */
export interface Load {
  readonly connections: number;
  readonly seconds: number;
}

/** The results of wrk. */
export interface LoadResult {
  /** Requests that got a response. */
  readonly requests: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Lua code that prints exact figures: the usual output of wrk is rounded and has varying units. */
const REPORT = `
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('\\nRESULT {"requests":%d,"us":%d,"p50us":%d,"p99us":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
`;

interface Report {
  readonly requests: number;
  readonly us: number;
  readonly p50us: number;
  readonly p99us: number;
  readonly connect: number;
  readonly read: number;
  readonly write: number;
  readonly status: number;
  readonly timeout: number;
}

/** Makes the Lua script for a scenario. */
export function wrkScript({ method, requestBytes }: Scenario): string {
  const body = requestBytes === 0 ? "" : `wrk.body = string.rep("a", ${requestBytes})\n`;
  return `wrk.method = "${method}"\nwrk.headers["appid"] = "bench"\n${body}${REPORT}`;
}

/**
 * Loads a port.
 *
 * @throws {Error} when responses were not as the scenario expects
 */
export async function runWrk(
  port: number,
  scenario: Scenario,
  { connections, seconds, directory }: Load & { readonly directory: string },
): Promise<LoadResult> {
  const script = `${directory}/${scenario.name}.lua`;
  await Deno.writeTextFile(script, wrkScript(scenario));
  const { stdout, stderr } = await new Deno.Command("wrk", {
    args: [
      "-t1",
      `-c${connections}`,
      `-d${seconds}s`,
      "-s",
      script,
      `http://127.0.0.1:${port}${scenario.path}`,
    ],
  }).output();
  const text = new TextDecoder().decode(stdout);
  const line = text.split("\n").find((each) => each.startsWith("RESULT "));
  if (line === undefined) throw new Error(`wrk failed: ${text}${new TextDecoder().decode(stderr)}`);
  const report = JSON.parse(line.slice("RESULT ".length)) as Report;
  checkReport(report, scenario);
  return {
    requests: report.requests,
    seconds: report.us / 1e6,
    p50Ms: report.p50us / 1000,
    p99Ms: report.p99us / 1000,
  };
}

function checkReport(report: Report, { status }: Scenario): void {
  const { requests, connect, read, write, timeout } = report;
  const refused = report.status;
  // One request is admitted before a limit of one refuses all others.
  const wrong = status < 400 ? refused : Math.max(0, requests - refused - 1);
  if (requests > 0 && wrong + connect + write + timeout + read === 0) return;
  throw new Error(`wrk got wrong answers or none: ${JSON.stringify(report)}`);
}
