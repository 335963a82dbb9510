/**
 * Reloads a proxy at random moments while clients of every kind are at work, and tells what went wrong for them.
 *
 * `deno task reload [RELOADS] [BROKEN] [SEED] [WORKERS]`
 */

import { seededRandom } from "../../lib/core/random.ts";
import { deadPort } from "../support/dead_port.ts";
import { ProgramFolder } from "../support/program.ts";
import { rawClient } from "../support/raw_client.ts";
import { fieldOf } from "../support/raw_connection.ts";
import { startUpstream, type Upstream } from "../support/start_upstream.ts";
import { answer, Clients, type Crowd, delay, FIELD } from "./clients.ts";

/** How much is done. */
export interface Work extends Crowd {
  /** How often the configuration is changed for another one that works. */
  readonly reloads: number;
  /** How often for one that does not. */
  readonly broken: number;
  /** Longest pause between two reloads. */
  readonly pauseMs: number;
  readonly seed: number;
  /** How many processes serve. */
  readonly workers: number;
}

/** What came of it. */
export interface Findings {
  /** What went wrong for clients, each once. */
  readonly failures: readonly string[];
  readonly requests: number;
  readonly uploads: number;
  readonly messages: number;
  /** WebSockets that were told to go because their configuration was replaced. */
  readonly told: number;
  /** Requests that the limiter has counted, beside those that clients got responses to. */
  readonly counted: number;
  /** Number of the last configuration. */
  readonly generation: number;
  /** Configurations that were not let go of. */
  readonly draining: number;
  /** How many reloads were refused. */
  readonly rejected: number;
  /** Memory of the process before the first reload and after the last, in bytes. */
  readonly memory: readonly [before: number, after: number];
}

const LIMIT = 1_000_000_000;

/** Reloads; clients run until the last one is over. */
export async function reloadUnderLoad(work: Work): Promise<Findings> {
  const random = seededRandom(work.seed);
  await using upstreams = new AsyncDisposableStack();
  const servers = [1, 2, 3].map(() => upstreams.use(startUpstream({ handler: answer })));
  const adminPort = deadPort();
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": CONFIG,
    "now.ts": sourceOf(0, servers),
  });
  const { workers } = work;
  await using program = folder.start(
    ["--admin", String(adminPort), "--log-level", "warn", "--workers", String(workers)],
    workers > 1 ? ["-A"] : undefined,
  );
  const port = Number((await program.stderrMatch(/^RUNS 0 at 127\.0\.0\.1:(\d+)/m))[1]);
  const clients = new Clients(port);
  const running = clients.start(work);
  const before = await metric(adminPort, "process_resident_memory_bytes");
  for (const [index, broken] of shuffled(work, random).entries()) {
    await delay(random() * work.pauseMs);
    const number = index + 1;
    await Deno.writeTextFile(
      `${folder.path}/now.ts`,
      broken ? brokenSource(number, servers) : sourceOf(number, servers),
    );
    program.kill("SIGHUP");
    await program.stderrMatch(broken ? rejection(number) : new RegExp(`^RUNS ${number} at`, "m"));
  }
  clients.stop();
  await running;
  const counted = await countedRequests(port);
  for (let i = 0; i < 1000 && await metric(adminPort, "config_draining") > 0; i++) await delay(10);
  const findings = {
    failures: [...clients.failures, ...clients.resets.map((target) => `${target} was reset`)],
    requests: clients.requests,
    uploads: clients.uploads,
    messages: clients.messages,
    told: clients.told,
    counted: counted - clients.admitted,
    generation: await metric(adminPort, "config_generation"),
    draining: await metric(adminPort, "config_draining"),
    memory: [before, await metric(adminPort, "process_resident_memory_bytes")] as const,
  };
  program.kill("SIGTERM");
  const { code, stderr } = await program.ended;
  if (code !== 0) findings.failures.push(`the program ended with ${code}`);
  return { ...findings, rejected: stderr.split("Configuration not loaded").length - 1 };
}

/** What never changes; the rest is in a module that it imports. */
const CONFIG = `
  import * as now from "./now.ts";
  export default {
    listen: "127.0.0.1:0",
    limiter: { name: "all", key: "header:user", limit: ${LIMIT}, window: "10h" },
    onListen: (addresses: readonly string[]) => console.error("RUNS " + now.number + " at " + addresses.join(" ")),
    ...now.config,
  };
`;

/** A configuration that works: other servers, options and addresses each time. */
function sourceOf(number: number, servers: readonly Upstream[]): string {
  const some = servers.filter((_, index) => (number + index) % 3 > 0 || number % 4 === 0);
  const config = {
    upstreams: {
      servers: some.map(({ address }) => address),
      balance: number % 2 === 0 ? "round-robin" : "least-connections",
      healthCheck: { type: "tcp", interval: number % 3 === 0 ? "1s" : "2s" },
      connections: { maxIdle: number % 5 === 0 ? 64 : 256 },
    },
    ...(number % 6 === 1 ? { listen: ["127.0.0.1:0", { hostname: "localhost", port: 0 }] } : {}),
    ...(number % 7 === 3 ? { gracePeriod: "10s", filters: [{}] } : {}),
    ...(number % 8 === 5
      ? {
        limiter: [
          { name: "more", key: "ip", limit: LIMIT, window: "10h", headers: false },
          { name: "all", key: "header:user", limit: LIMIT, window: "10h" },
        ],
      }
      : {}),
    webSocketGrace: "300ms",
  };
  return `export const number = ${number}; export const config = ${JSON.stringify(config)};`;
}

/** One that does not. */
function brokenSource(number: number, servers: readonly Upstream[]): string {
  const good = sourceOf(number, servers);
  switch (number % 5) {
    case 0:
      return `${good} throw new Error("broken-${number}");`;
    case 1:
      return `${good} config.upstreams.servers.push("broken-${number}");`;
    case 2:
      return `import "./broken-${number}.ts"; ${good}`;
    case 3:
      return `${good} config.listen = { port: 0, tls: { cert: "/broken-${number}", key: "/broken-${number}" } };`;
    default:
      return `${good} config.listen = ["127.0.0.1:0", "192.0.2.1:${number}"];`;
  }
}

function rejection(number: number): RegExp {
  return new RegExp(`Configuration not loaded.*(?:broken-${number}\\b|192\\.0\\.2\\.1:${number}:)`);
}

function shuffled({ reloads, broken }: Work, random: () => number): boolean[] {
  const order = [...Array(reloads).fill(false), ...Array(broken).fill(true)];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

async function countedRequests(port: number): Promise<number> {
  using connection = await rawClient(port);
  await connection.write(`GET / HTTP/1.1\r\nHost: h\r\n${FIELD}\r\n\r\n`);
  const { fields } = await connection.readResponse();
  const [, left] = /"all";r=(\d+)/.exec(fieldOf(fields, "ratelimit") ?? "") ?? [];
  return LIMIT - Number(left) - 1;
}

async function metric(adminPort: number, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  const line = new RegExp(`^(?:lbproxy_)?${name} (\\S+)$`, "m").exec(text);
  if (line === null) throw new Error(`there is no metric ${name}`);
  return Number(line[1]);
}

if (import.meta.main) {
  const [reloads = 100, broken = 20, seed = 1, workers = 1] = Deno.args.map(Number);
  const findings = await reloadUnderLoad({
    reloads,
    broken,
    keepAlive: 64,
    oneShot: 64,
    webSockets: 8,
    uploads: 8,
    pauseMs: 200,
    seed,
    workers,
  });
  // deno-lint-ignore no-console
  console.log(findings);
  const { failures, counted, draining, generation, rejected } = findings;
  const good = failures.length === 0 && counted === 0 && draining === 0;
  Deno.exit(good && generation === reloads + 1 && rejected === broken ? 0 : 1);
}
