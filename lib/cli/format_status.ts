/** Formats the state of a proxy as text. */

import type { Explanation } from "../admin/explain.ts";
import type {
  KeyStatus,
  LimitStatus,
  PoolStatus,
  ServerStatus,
  Status,
  WorkerStatus,
} from "../admin/status.ts";
import { escapeControls } from "../observe/text_format.ts";

/** Options of the text. */
interface TextOptions {
  /** Maximum width of a line. */
  readonly columns: number;
  /** Whether states are coloured. */
  readonly colored: boolean;
}

const COLORS: Readonly<Record<string, number>> = {
  up: 32,
  unhealthy: 31,
  ejected: 31,
  full: 33,
  recovering: 33,
};
const BAR = 20;

/** Formats the whole state as lines that are not wider than the terminal. */
export function formatStatus(status: Status, options: TextOptions): string[] {
  return [
    ...headLines(status),
    ...workerLines(status.workers),
    ...status.pools.flatMap((pool) => ["", ...poolLines(pool, status.time, options.columns)]),
    ...status.limits.flatMap((limit) => ["", ...limitLines(limit)]),
  ].map((line) => finish(line, options));
}

/** Formats the state at one moment as one line, for logs and pipes. */
export function formatMoment(status: Status): string {
  const { requests, pools, time } = status;
  const servers = pools.flatMap((pool) => pool.servers);
  const down = servers.filter(({ state }) => state === "unhealthy" || state === "ejected");
  const parts = [
    `${time} ${status.state}`,
    `requests=${rate(requests.perSecond)}/s`,
    `p50=${milliseconds(requests.latency?.p50Ms)}`,
    `p99=${milliseconds(requests.latency?.p99Ms)}`,
    `5xx=${rate(requests.codes["5xx"] ?? 0)}/s`,
    `refused=${rate(requests.refused)}/s`,
    `in-flight=${requests.inFlight}`,
    `up=${pools.reduce((sum, { available }) => sum + available, 0)}/${servers.length}`,
    ...(down.length === 0 ? [] : [`down=${down.map(({ address }) => address).join(",")}`]),
  ];
  return escapeControls(parts.join(" "));
}

/** Formats keys with their usage. */
export function formatKeys(keys: readonly KeyStatus[]): string[] {
  if (keys.length === 0) return ["no key has used that much"];
  return keys.map(keyLine).map(escapeControls);
}

/** Formats the explanation of a request. */
export function formatExplanation(explanation: Explanation): string[] {
  const { request, ends, route, path, limits, pools, balance, key, server, servers, notes } = explanation;
  const { upstreamTarget } = explanation;
  const by = balance === null ? "" : ` by ${balance}${key === null ? "" : ` of ${JSON.stringify(key)}`}`;
  const shares = pools.map(({ name, share }) =>
    share === 1 ? name : `${name} (${Math.round(share * 1000) / 10} %)`
  );
  const rows: readonly (readonly [string, string])[] = [
    ["request", `${request.method} ${request.host}${request.target} from ${request.client}`],
    ...(path === request.target.replace(/\?.*$/s, "") ? [] : [["path", path] as const]),
    ["route", route ?? "none"],
    ...limits.map((limit) => ["limit", foreseenLimit(limit)] as const),
    ["pool", shares.length === 0 ? "none" : `${shares.join(", ")}${by}`],
    ...servers.map(({ address, state, weight, backup, eligible }) => {
      const kind = `${state}, weight ${Math.round(weight * 100) / 100}${backup ? ", backup" : ""}`;
      const turn = address === server ? "  <- this one" : eligible && server === null ? "  <- possible" : "";
      return ["server", `${address}  ${kind}${turn}`] as const;
    }),
    ...(upstreamTarget === null ? [] : [["target", upstreamTarget] as const]),
    ["ends", ends === null ? "at the server" : `with ${ends.status}: ${ends.reason}`],
    ...notes.map((note) => ["note", note] as const),
  ];
  return rows.map(([name, value]) => escapeControls(`${name.padEnd(8)} ${value}`));
}

function foreseenLimit(limit: Explanation["limits"][number]): string {
  const { policy, key, limit: most, remaining, bannedMs, resetMs, allowed, dryRun } = limit;
  if (key === null) return `${policy}  refuses: it has no key`;
  const left = `${Math.floor(remaining!)} of ${most} left for ${JSON.stringify(key)}`;
  const state = bannedMs > 0
    ? `refuses: banned for ${formatAge(bannedMs)}`
    : allowed
    ? "allows"
    : `refuses for up to ${formatAge(resetMs!)}`;
  return `${policy}  ${left}  ${state}${dryRun ? " (dry run)" : ""}`;
}

function headLines(status: Status): string[] {
  const { requests, workers, addresses, configuration, uptimeMs } = status;
  const { latency, codes } = requests;
  const cpu = workers.reduce((sum, worker) => sum + worker.cpu, 0);
  const waiting = status.pools.reduce((sum, pool) => sum + pool.waiting, 0);
  return [
    `lbproxy ${status.version}  ${status.state}${status.ready ? "" : ", not ready"}  ${
      addresses.join(", ")
    }  up ${formatAge(uptimeMs)}  generation ${configuration.generation}`,
    `requests ${rate(requests.perSecond)}/s  p50 ${milliseconds(latency?.p50Ms)}  p95 ${
      milliseconds(latency?.p95Ms)
    }  p99 ${milliseconds(latency?.p99Ms)}  4xx ${rate(codes["4xx"] ?? 0)}/s  5xx ${
      rate(codes["5xx"] ?? 0)
    }/s  refused ${rate(requests.refused)}/s`,
    `in flight ${requests.inFlight}, ${waiting} waiting  cpu ${Math.round(cpu * 1000) / 10} %  memory ${
      Math.round(workers.reduce((sum, { rssBytes }) => sum + (rssBytes ?? 0), 0) / 1024 ** 2)
    } MiB`,
  ];
}

/** One line per process, if there are several. */
function workerLines(workers: readonly WorkerStatus[]): string[] {
  if (workers.length === 1) return [];
  return workers.map((
    { id, role, pid, state, uptimeMs, restarts, requests, inFlight, rssBytes, cpu, loopDelayMs },
  ) =>
    `${role === "worker" ? `worker ${id}` : role} pid ${pid}${state === "serving" ? "" : ` ${state}`}  up ${
      formatAge(uptimeMs)
    }  requests ${requests ?? "-"}  in flight ${inFlight}  cpu ${Math.round(cpu * 1000) / 10} %  memory ${
      rssBytes === null ? "-" : Math.round(rssBytes / 1024 ** 2)
    } MiB  late ${milliseconds(loopDelayMs)}  replaced ${restarts}`
  );
}

const COLUMNS = [
  "STATE",
  "SERVER",
  "WEIGHT",
  "IN FLIGHT",
  "REQ/S",
  "P50",
  "P99",
  "5XX",
  "FAILED",
  "FOR",
] as const;
/** Columns that are aligned omitted. */
const LEFT: readonly string[] = ["STATE", "SERVER"];

/** Columns that are omitted out on a narrow terminal, in this order. */
const OPTIONAL: readonly string[] = ["WEIGHT", "P50", "IN FLIGHT", "5XX"];

/** Shows the columns that fit. Reasons are beside the row or, if they do not fit, below it. */
function poolLines(
  { name, available, servers, perSecond, panic }: PoolStatus,
  time: string,
  columns: number,
): string[] {
  const rows = servers.map((server) => serverCells(server, time));
  const widths = COLUMNS.map((title, i) => Math.max(title.length, ...rows.map((cells) => cells[i]!.length)));
  const omitted = new Set<string>();
  const width = () => COLUMNS.reduce((sum, title, i) => sum + (omitted.has(title) ? 0 : 2 + widths[i]!), 0);
  for (const title of OPTIONAL) if (width() > columns) omitted.add(title);
  const reasons = servers.map(explainState);
  const beside = width() + 2 + Math.max(...reasons.map(({ length }) => length)) <= columns;
  const line = (cells: readonly string[]) =>
    cells.flatMap((cell, i) => {
      const title = COLUMNS[i]!;
      if (omitted.has(title)) return [];
      return `  ${LEFT.includes(title) ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)}`;
    }).join("");
  return [
    `pool ${name}  ${available} of ${servers.length} up  ${rate(perSecond)}/s${
      panic ? "  PANIC: all are used" : ""
    }`,
    beside ? `${line(COLUMNS)}  WHY` : line(COLUMNS).trimEnd(),
    ...rows.flatMap((cells, i) =>
      beside
        ? [`${line(cells)}  ${reasons[i]}`.trimEnd()]
        : [line(cells).trimEnd(), ...(reasons[i] === "" ? [] : [`      ${reasons[i]}`])]
    ),
  ];
}

function serverCells(server: ServerStatus, time: string): string[] {
  return [
    server.state,
    server.backup ? `${server.address} (backup)` : server.address,
    String(server.effectiveWeight),
    server.maxInFlight === null ? String(server.inFlight) : `${server.inFlight} of ${server.maxInFlight}`,
    rate(server.perSecond),
    milliseconds(server.latency?.p50Ms),
    milliseconds(server.latency?.p99Ms),
    String(server.codes["5xx"] ?? 0),
    String(server.failures),
    formatAge(Date.parse(time) - Date.parse(server.since)),
  ];
}

function explainState({ reason, lastCheck }: ServerStatus): string {
  if (reason !== null) return reason;
  return lastCheck === null || lastCheck.passed ? "" : lastCheck.text;
}

function limitLines(
  { name, limit, key, windowMs, algorithm, perSecond, hottest, dryRun }: LimitStatus,
): string[] {
  const refused = (perSecond.refused ?? 0) + (perSecond.banned ?? 0) + (perSecond.would_refuse ?? 0);
  const amount = algorithm === "concurrency" ? "at once" : `per ${formatAge(windowMs)}`;
  return [
    `limit ${name}  ${limit ?? "by function"} ${amount} for each ${key}${dryRun ? " (dry run)" : ""}  ${
      rate(perSecond.allowed ?? 0)
    }/s allowed, ${rate(refused)}/s refused`,
    ...hottest.map((each) => `  ${keyLine(each)}`),
  ];
}

function keyLine({ key, used, limit, share, bannedMs }: KeyStatus): string {
  const filled = Math.round(Math.min(1, share) * BAR);
  const bar = "#".repeat(filled) + ".".repeat(BAR - filled);
  const banned = bannedMs > 0 ? `  banned for ${formatAge(bannedMs)}` : "";
  return `${bar} ${`${used} of ${limit}`.padStart(14)}  ${key === "" ? "(empty)" : key}${banned}`;
}

/** Cuts the line to the width, then colours it: cutting afterwards could remove the end of the colour. */
function finish(line: string, { columns, colored }: TextOptions): string {
  const escaped = escapeControls(line);
  const cut = escaped.length > columns ? `${escaped.slice(0, columns - 1)}…` : escaped;
  if (!colored) return cut;
  if (/^(?:lbproxy|pool|limit) /.test(cut)) return `\x1b[1m${cut}\x1b[0m`;
  const state = /^ {2}([a-z]+) /.exec(cut)?.[1];
  const color = state === undefined ? undefined : COLORS[state];
  return color === undefined ? cut : cut.replace(state!, `\x1b[${color}m${state}\x1b[0m`);
}

function rate(value: number): string {
  return value < 10 && value > 0 ? value.toFixed(1) : String(Math.round(value));
}

function milliseconds(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "-";
  if (ms < 10) return `${ms.toFixed(1)}ms`;
  return ms < 10_000 ? `${Math.round(ms)}ms` : `${(ms / 1000).toFixed(1)}s`;
}

/** Formats a duration with at most two units, such as `3m12s`. */
function formatAge(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s}s`;
  const [size, name, small, smallName] = s < 3600
    ? [60, "m", 1, "s"] as const
    : s < 86_400
    ? [3600, "h", 60, "m"] as const
    : [86_400, "d", 3600, "h"] as const;
  const rest = Math.floor((s % size) / small);
  return `${Math.floor(s / size)}${name}${rest === 0 ? "" : `${rest}${smallName}`}`;
}
