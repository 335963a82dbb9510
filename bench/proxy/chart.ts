/** Results as a chart: CPU per request compared with nginx, for each load. */

import type { Peer } from "./peer.ts";
import type { Report } from "./report.ts";
import type { Scenario } from "./scenarios.ts";
import type { Summary } from "./summarise.ts";

const WIDTH = 860;
const LEFT = 230;
const RIGHT = 150;
const ROW = 22;
const HEAD = 64;
const GROUP_HEAD = 30;
const COLORS = { lbproxy: "#2563eb", proxy: "#94a3b8", floor: "#d6d3d1" } as const;

/** Draws the summaries as SVG; shorter bars are better. */
export function chart(report: Report, peers: readonly Peer[], scenarios: readonly Scenario[]): string {
  const parts: string[] = [];
  let y = HEAD;
  for (const scenario of scenarios) {
    const rows = rowsOf(report.summaries, peers, scenario);
    if (rows.length === 0) continue;
    parts.push(text(12, y + 18, scenario.title, "bold"));
    y += GROUP_HEAD;
    const longest = Math.max(...rows.map(({ summary }) => summary.cpuUs));
    for (const row of rows) {
      parts.push(bar(row, y, longest));
      y += ROW;
    }
  }
  return frame(y + 16, [...caption(report), ...parts]);
}

interface Row {
  readonly peer: Peer;
  readonly summary: Summary;
}

function rowsOf(summaries: readonly Summary[], peers: readonly Peer[], { name }: Scenario): Row[] {
  const rows: Row[] = [];
  for (const peer of peers) {
    const summary = summaries.find((each) => each.scenario === name && each.peer === peer.name);
    if (summary !== undefined) rows.push({ peer, summary });
  }
  return rows;
}

function bar({ peer, summary }: Row, y: number, longest: number): string {
  const width = Math.max(1, (WIDTH - LEFT - RIGHT) * summary.cpuUs / longest);
  const ratio = summary.ratio === null ? "" : ` = ${summary.ratio.toFixed(2)} x nginx`;
  return text(LEFT - 8, y + 15, peer.title, "end") +
    `<rect x="${LEFT}" y="${y + 3}" width="${width.toFixed(1)}" height="${ROW - 6}" fill="${
      COLORS[peer.kind]
    }"/>` +
    text(LEFT + width + 6, y + 15, `${summary.cpuUs.toFixed(1)} us${ratio}`);
}

function caption({ date, machine, load }: Report): string[] {
  const where = `${machine.processor}, ${machine.cores} cores, ${machine.system}`;
  const how = `${load.connections} connections, medians of ${load.rounds} rounds of ${load.seconds} s`;
  return [
    text(12, 24, "CPU time a request, all processes of the proxy; shorter is better", "bold"),
    text(12, 44, `${date.slice(0, 10)}; ${where}; ${how}`),
  ];
}

function text(x: number, y: number, content: string, style: "" | "bold" | "end" = ""): string {
  const attributes = style === "bold" ? ' font-weight="bold"' : style === "end" ? ' text-anchor="end"' : "";
  return `<text x="${x.toFixed(1)}" y="${y}"${attributes}>${escapeXml(content)}</text>`;
}

function escapeXml(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function frame(height: number, parts: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" ` +
    `font-family="system-ui, sans-serif" font-size="13" fill="#1f2937">\n` +
    `<rect width="100%" height="100%" fill="#ffffff"/>\n${parts.join("\n")}\n</svg>\n`;
}
