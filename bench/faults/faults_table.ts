/** The results as a table for the documentation. */

import type { Machine } from "../proxy/machine.ts";
import type { FaultPeer } from "./peers.ts";
import type { FaultRun } from "./run_fault.ts";
import type { Fault } from "./scenarios.ts";

/** The results of a run. */
export interface FaultReport {
  readonly date: string;
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly runs: readonly FaultRun[];
}

const PAGE = `${import.meta.dirname}/../../docs/faults.md`;
const BEGIN = "<!-- results: deno task faults -->";
const END = "<!-- end -->";

/** Replaces the table in `docs/faults.md`. */
export async function writeFaultsTable(
  report: FaultReport,
  peers: readonly FaultPeer[],
  faults: readonly Fault[],
): Promise<void> {
  const page = await Deno.readTextFile(PAGE);
  const from = page.indexOf(BEGIN) + BEGIN.length;
  const to = page.indexOf(END, from);
  await Deno.writeTextFile(
    PAGE,
    `${page.slice(0, from)}\n\n${tableOf(report, peers, faults)}\n\n${page.slice(to)}`,
  );
}

function tableOf(
  { date, machine, versions, runs }: FaultReport,
  peers: readonly FaultPeer[],
  faults: readonly Fault[],
): string {
  const shown = peers.filter(({ name }) => versions[name] !== undefined);
  const rows = faults.map((fault) => [fault.title, ...shown.map((peer) => cellOf(runs, peer, fault))]);
  const table = [["", ...shown.map(({ title }) => title)], ...rows];
  const widths = table[0]!.map((_, i) => Math.max(3, ...table.map((row) => row[i]!.length)));
  const lines = table.map((row) => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`);
  lines.splice(1, 0, `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`);
  const where = `${date.slice(0, 10)}, ${machine.processor}, ${machine.cores} cores, ${machine.system}.`;
  return `${where}\n\n${lines.join("\n")}`;
}

function cellOf(runs: readonly FaultRun[], { name }: FaultPeer, fault: Fault): string {
  const run = runs.find((each) => each.peer === name && each.fault === fault.name);
  if (run === undefined) return "";
  const back = run.recoveredMs === null ? "" : `, back in ${seconds(run.recoveredMs)}`;
  return `${run.failed} of ${run.requests}, ${seconds(run.longestMs)}${back}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
