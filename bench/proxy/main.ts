/**
 * Compares the CPU per request of lbproxy and other proxies, in the same minutes on the same machine.
 *
 * `deno task bench:proxy --help` lists the options.
 */

import { chart } from "./chart.ts";
import { type BenchOptions, HELP, readOptions } from "./options.ts";
import { makeReport, type Report } from "./report.ts";
import { runRounds } from "./run_rounds.ts";
import { startPeers } from "./start_peers.ts";
import { startServers } from "./start_servers.ts";
import { takesPart } from "./run_rounds.ts";
import { summaryText, verdictText } from "./text_table.ts";

const ROOT = `${import.meta.dirname}/../..`;
const WARM_UP_SECONDS = 1;

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}

async function run(options: BenchOptions): Promise<Report> {
  const directory = await Deno.makeTempDir({ prefix: "lbproxy_bench_" });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  // Workers of nginx run as another user if root has started it.
  await Deno.chmod(directory, 0o755);
  const servers = await startServers(directory);
  for (const server of servers) stack.use(server);
  const wanted = options.peers.filter((peer) =>
    options.scenarios.some((scenario) => takesPart(peer, scenario))
  );
  const setup = { directory, root: ROOT, servers: servers.map(({ port }) => port) };
  const peers = await startPeers(wanted, setup, { stack, say });
  const series = await runRounds(peers, options.scenarios, {
    ...options,
    warmUpSeconds: WARM_UP_SECONDS,
    directory,
    say,
  });
  return makeReport(series, peers, options);
}

async function write(report: Report, options: BenchOptions): Promise<void> {
  if (options.output === null) return;
  const folder = options.output.slice(0, options.output.lastIndexOf("/") + 1);
  if (folder !== "") await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(`${options.output}.json`, JSON.stringify(report, null, 1) + "\n");
  await Deno.writeTextFile(`${options.output}.svg`, chart(report, options.peers, options.scenarios));
  say(`written: ${options.output}.json, ${options.output}.svg`);
}

async function main(): Promise<void> {
  const options = readOptions(Deno.args);
  if (options === null) return say(HELP);
  const report = await run(options);
  say(summaryText(report.summaries, options.peers, options.scenarios));
  say(`\n${verdictText(report.targets)}`);
  await write(report, options);
}

await main();
