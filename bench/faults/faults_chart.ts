/** The results as a chart: failed requests per thousand, by scenario. */

import type { FaultReport } from "./faults_table.ts";
import type { FaultPeer } from "./peers.ts";
import type { FaultRun } from "./run_fault.ts";
import type { Fault } from "./scenarios.ts";

const WIDTH = 860;
const LEFT = 170;
const MIDDLE = 520;
const RIGHT = 110;
const ROW = 18;
const HEAD = 66;
const GROUP_HEAD = 28;
const COLORS = { lbproxy: "#2563eb", proxy: "#94a3b8", floor: "#d6d3d1" } as const;

/** Draws failed requests and the longest request as SVG; shorter bars are better. */
export function faultsChart(
  report: FaultReport,
  peers: readonly FaultPeer[],
  faults: readonly Fault[],
): string {
  const parts: string[] = [];
  let y = HEAD;
  for (const fault of faults) {
    const rows = peers.flatMap((peer) => {
      const run = report.runs.find((each) => each.peer === peer.name && each.fault === fault.name);
      return run === undefined ? [] : [{ peer, run }];
    });
    if (rows.length === 0) continue;
    parts.push(text(12, y + 18, fault.title, "bold"));
    y += GROUP_HEAD;
    const most = Math.max(1, ...rows.map(({ run }) => run.failed));
    const longest = Math.max(1, ...rows.map(({ run }) => run.longestMs));
    for (const { peer, run } of rows) {
      parts.push(rowOf(peer, run, y, most, longest));
      y += ROW;
    }
  }
  const { date, machine } = report;
  const where = `${
    date.slice(0, 10)
  }; ${machine.processor}, ${machine.cores} cores; 32 connections, 400 where it says so`;
  const caption = [
    text(12, 22, "Requests that failed, and the longest request; shorter is better", "bold"),
    text(12, 42, where),
    text(LEFT, 60, "failed"),
    text(MIDDLE, 60, "longest"),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y + 16}" viewBox="0 0 ${WIDTH} ${
    y + 16
  }" ` +
    `font-family="system-ui, sans-serif" font-size="13" fill="#1f2937">\n<rect width="100%" height="100%" fill="#ffffff"/>\n` +
    `${[...caption, ...parts].join("\n")}\n</svg>\n`;
}

function rowOf({ title, kind }: FaultPeer, run: FaultRun, y: number, most: number, longest: number): string {
  const room = MIDDLE - LEFT - RIGHT;
  const bar = (x: number, share: number) =>
    `<rect x="${x}" y="${y + 3}" width="${Math.max(1, room * share).toFixed(1)}" height="${ROW - 5}" fill="${
      COLORS[kind]
    }"/>`;
  const failed = run.failed / most;
  const took = run.longestMs / longest;
  return text(LEFT - 8, y + 14, title, "end") + bar(LEFT, failed) +
    text(LEFT + Math.max(1, room * failed) + 6, y + 14, String(run.failed)) + bar(MIDDLE, took) +
    text(MIDDLE + Math.max(1, room * took) + 6, y + 14, `${(run.longestMs / 1000).toFixed(2)} s`);
}

function text(x: number, y: number, content: string, style: "" | "bold" | "end" = ""): string {
  const attributes = style === "bold" ? ' font-weight="bold"' : style === "end" ? ' text-anchor="end"' : "";
  return `<text x="${x.toFixed(1)}" y="${y}"${attributes}>${content}</text>`;
}
