/** Shows how a replay went. */

import type { ResolvedPolicy } from "../limiter/policy.ts";
import type { SimulationResult } from "./simulate.ts";

/**
 * Writes a replay for people: a line for the whole, a table of the policies, one of who was refused, and what is not known.
 *
 * @param top how many keys are listed
 */
export function reportSimulation(
  result: SimulationResult,
  policies: readonly ResolvedPolicy[],
  top: number,
): string {
  const { requests, refused, durationMs, byPolicy, byKey, notes } = result;
  const whole = `${counted(requests)} requests in ${moment(durationMs)}: ` +
    `${counted(requests - refused)} admitted, ${counted(refused)} refused${share(refused, requests)}`;
  const remarks = notes.map((note) => `${printable(note, 200)}\n`).join("");
  if (policies.length === 0) return `${whole}\nThe configuration has no limits.\n${remarks}`;
  const tiers = policies.map(({ name, dryRun }) => [
    name,
    counted(byPolicy[name] ?? 0) + (dryRun ? " (dry run)" : ""),
    counted(byKey.filter(({ policy }) => policy === name).length),
  ]);
  const tables = [table(["policy", "refused", "keys"], tiers)];
  if (byKey.length > 0) {
    const rows = byKey.slice(0, top).map(({ policy, key, refused, firstAtMs, lastAtMs }) => [
      key === null ? "(none)" : printable(key),
      policy,
      counted(refused),
      moment(firstAtMs),
      moment(lastAtMs),
    ]);
    tables.push(table(["key", "policy", "refused", "first at", "last at"], rows));
  }
  if (byKey.length > top) tables.push(`and ${counted(byKey.length - top)} more (--top N lists more)`);
  return `${whole}\n\n${tables.join("\n\n")}\n${remarks === "" ? "" : `\n${remarks}`}`;
}

/** Moments of a trace to the millisecond: `9m 59.466s`. */
function moment(ms: number): string {
  const minutes = Math.floor(Math.round(ms) / 60_000);
  const seconds = ((Math.round(ms) - minutes * 60_000) / 1000).toFixed(3);
  return minutes === 0 ? `${seconds}s` : `${minutes}m ${seconds.padStart(6, "0")}s`;
}

function counted(count: number): string {
  return count.toLocaleString("en-US");
}

function share(part: number, whole: number): string {
  return part === 0 ? "" : ` (${(100 * part / whole).toFixed(1)} %)`;
}

/** Keys are clients' texts, and a terminal obeys some of them. */
function printable(text: string, length = 60): string {
  // deno-lint-ignore no-control-regex
  const plain = text.replaceAll(/[\x00-\x1f\x7f-\x9f]/g, "?");
  return plain.length > length ? `${plain.slice(0, length - 3)}...` : plain;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]!.length))
  );
  return [head, ...rows]
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd())
    .join("\n");
}
