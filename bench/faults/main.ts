/**
 * Compares lbproxy with other proxies while servers are killed, stopped, removed or reset connections: how many idempotent
 * requests fail, and how long the slowest takes.
 *
 * `deno task faults [--peers A,B] [--faults A,B] [--output PATH]`; needs nginx and wrk, and redis-server for one scenario.
 */

import { parseArgs } from "@std/cli/parse-args";
import { describeMachine } from "../proxy/machine.ts";
import { faultsChart } from "./faults_chart.ts";
import { FAULT_PEERS } from "./peers.ts";
import { type FaultRun, runFault } from "./run_fault.ts";
import { FAULTS } from "./scenarios.ts";
import { writeFaultsTable } from "./faults_table.ts";

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}

function named<Item extends { readonly name: string }>(
  all: readonly Item[],
  names?: string,
): readonly Item[] {
  if (names === undefined) return all;
  return names.split(",").map((name) => {
    const found = all.find((each) => each.name === name);
    if (found === undefined) {
      throw new TypeError(`${name} is none of ${all.map((each) => each.name).join(", ")}`);
    }
    return found;
  });
}

async function versionOf(program: string, args: readonly string[]): Promise<string | null> {
  try {
    const { stdout, stderr } = await new Deno.Command(program, { args: [...args] }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    return text.trim().split("\n")[0] ?? "";
  } catch {
    return null;
  }
}

const { peers, faults, output } = parseArgs(Deno.args, { string: ["peers", "faults", "output"] });
const wanted = named(FAULTS, faults);
const directory = await Deno.makeTempDir({ prefix: "lbproxy_faults_" });
const versions: Record<string, string> = {};
const runs: FaultRun[] = [];
try {
  for (const fault of wanted) {
    for (const peer of named(FAULT_PEERS, peers)) {
      if (fault.own === true && peer.kind !== "lbproxy") continue;
      const version = versions[peer.name] ?? await versionOf(peer.program, peer.versionArgs);
      if (version === null) {
        say(`left out: ${peer.title}; to have it compared: ${peer.install}`);
        continue;
      }
      versions[peer.name] = version;
      const run = await runFault(peer, fault, directory);
      runs.push(run);
      const { requests, failed, refused, broken, hung, unconnected, longestMs, recoveredMs, ended, left } =
        run;
      say(
        `${fault.name}: ${peer.name}: ${requests} requests, ${failed} failed (${refused} refused, ${broken} broken, ` +
          `${hung} hung), ${unconnected} unconnected, longest ${longestMs} ms` +
          (recoveredMs === null ? "" : `, well again after ${recoveredMs} ms`) +
          (ended === null ? "" : `, ended with ${ended.code} after ${ended.ms} ms`) +
          (left === null ? "" : `, left: ${left.length === 0 ? "nothing" : left.join("; ")}`),
      );
    }
  }
} finally {
  await Deno.remove(directory, { recursive: true });
}
const report = { date: new Date().toISOString(), machine: describeMachine(), versions, runs };
const partial = peers !== undefined || faults !== undefined;
const path = output ?? (partial ? null : "bench/results/faults");
if (path !== null) {
  await Deno.writeTextFile(`${path}.json`, JSON.stringify(report, null, 1) + "\n");
  await Deno.writeTextFile(`${path}.svg`, faultsChart(report, FAULT_PEERS, FAULTS));
  if (!partial) await writeFaultsTable(report, FAULT_PEERS, FAULTS);
  say(`written: ${path}.json, ${path}.svg`);
}
const bad = runs.filter((run) => {
  const fault = FAULTS.find(({ name }) => name === run.fault)!;
  if (!run.peer.startsWith("lbproxy")) return false;
  const mustSpare = fault.spared && fault.cannot?.[run.peer] === undefined;
  return (mustSpare && run.failed > 0) || (run.left?.length ?? 0) > 0;
});
if (bad.length > 0) {
  say(`failed: ${bad.map(({ peer, fault }) => `${peer} ${fault}`).join(", ")}`);
  Deno.exit(1);
}
