/**
 * Cost of limits that several machines share, with a separate `redis-server`: added latency of a request, decisions per
 * second, commands per request, and the effect of an outage of Redis.
 *
 *   deno task bench:redis [--requests N] [--decisions N]
 *
 * Client, proxy and server run in one thread, and Redis in another, so only differences are meaningful. With
 * `REDIS_SERVER=valkey-server`, measures Valkey.
 */

import { parseArgs } from "@std/cli/parse-args";
import { RedisServer } from "../tests/support/redis_server.ts";
import { measureAddedLatency } from "./redis/added_latency.ts";
import { measureOutage } from "./redis/outage.ts";
import { measureThroughput } from "./redis/throughput.ts";

const flags = parseArgs(Deno.args, { string: ["requests", "decisions"] });
const requests = Number(flags.requests ?? 5000);
const decisions = Number(flags.decisions ?? 100_000);

function print(title: string, rows: readonly Record<string, string>[]): void {
  const columns = Object.keys(rows[0]!);
  const widths = columns.map((name) =>
    Math.max(...[name, ...rows.map((row) => row[name]!)].map((t) => t.length))
  );
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ");
  const lines = ["", title, line(columns), ...rows.map((row) => line(columns.map((name) => row[name]!)))];
  // deno-lint-ignore no-console
  console.log(lines.join("\n"));
}

{
  await using redis = await RedisServer.start();
  print(
    `What a request waits, one after the other, ${requests} of each`,
    await measureAddedLatency(redis, requests),
  );
}
{
  await using redis = await RedisServer.start();
  print(`Decisions, ${decisions} over 1,000 keys`, await measureThroughput(redis, decisions));
}
print("Decisions of 64 that ask all the time, when Redis stops (timeout 20 ms)", [
  await measureOutage("killed", (redis) => redis.kill()),
  await measureOutage("hangs (SIGSTOP)", (redis) => redis.pause()),
]);
