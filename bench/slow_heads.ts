/**
 * Clients that send one byte of their head per second, together with a normal client: how long the normal client waits, and
 * when the slow ones are disconnected.
 *
 * `deno run -A bench/slow_heads.ts [--clients N]`
 */

import { parseArgs } from "@std/cli/parse-args";
import { serve } from "../mod.ts";

const BYTE_EVERY_MS = 1000;
const HEAD = "GET / HTTP/1.1\r\nHost: h\r\nX-Slow: " + "x".repeat(3600);

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}

/** Sends one byte per second until there is a response; returns its status and the time. */
async function slowHead(port: number): Promise<{ status: number; afterMs: number }> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const startAt = performance.now();
  const buffer = new Uint8Array(1024);
  let at = 0;
  const timer = setInterval(() => {
    connection.write(new TextEncoder().encode(HEAD[at++]!)).catch(() => {});
  }, BYTE_EVERY_MS);
  try {
    const count = await connection.read(buffer);
    const status = Number(new TextDecoder().decode(buffer.subarray(0, count ?? 0)).slice(9, 12));
    return { status, afterMs: performance.now() - startAt };
  } finally {
    clearInterval(timer);
  }
}

/** Latencies of successive requests, in milliseconds, until `over` returns `true`. */
async function waits(port: number, over: () => boolean): Promise<number[]> {
  const found: number[] = [];
  while (!over()) {
    const startAt = performance.now();
    await (await fetch(`http://127.0.0.1:${port}/`)).text();
    found.push(performance.now() - startAt);
  }
  return found.sort((a, b) => a - b);
}

function sayWaits(what: string, found: readonly number[]): void {
  const at = (share: number): string => found[Math.floor(share * (found.length - 1))]!.toFixed(2);
  say(
    `${what}: ${found.length} requests, median ${at(0.5)} ms, 99 % within ${at(0.99)} ms, longest ${
      at(1)
    } ms`,
  );
}

const { clients } = parseArgs(Deno.args, { string: ["clients"], default: { clients: "2000" } });
await using upstream = Deno.serve(
  { port: 0, hostname: "127.0.0.1", onListen() {} },
  () => new Response("ok"),
);
await using proxy = await serve({
  listen: { hostname: "127.0.0.1", port: 0 },
  upstreams: [`127.0.0.1:${upstream.addr.port}`],
});
const port = Number(proxy.addresses[0]!.split(":").at(-1));
const endAt = performance.now() + 3000;
sayWaits("alone", await waits(port, () => performance.now() > endAt));
let left = Number(clients);
const slow = Array.from({ length: left }, () => slowHead(port).finally(() => left--));
sayWaits(`beside ${clients} slow heads`, await waits(port, () => left === 0));
const ends = await Promise.all(slow);
const late = ends.map(({ afterMs }) => afterMs).sort((a, b) => a - b);
say(
  `${ends.filter(({ status }) => status === 408).length} of ${clients} got 408, the last after ${
    (late.at(-1)! / 1000).toFixed(1)
  } s`,
);
