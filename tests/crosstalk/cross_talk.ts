/**
 * 64 clients, three servers that misbehave, and the proxy with its `http1` engine and kept connections between them:
 * whether anything of one request ever reaches another. `deno task crosstalk [seconds] [seed]`
 */

import { seededRandom } from "../../lib/core/random.ts";
import { startProxy } from "../support/start_proxy.ts";
import { Client } from "./clients.ts";
import { misbehavingServer } from "./servers.ts";
import { Findings } from "./token.ts";

const CLIENTS = 64;
const SERVERS = 3;
const DEFAULT_SECONDS = 60;

type Content = ReadableStream<Uint8Array<ArrayBuffer>>;

const unchanged = (body: Content): Content => body.pipeThrough(new TransformStream());

/** Runs it for so long, or until the clients have sent so many requests. */
export async function crossTalk(seconds: number, seed: number): Promise<Findings> {
  const findings = new Findings();
  const tried = new Set<string>();
  await using stack = new AsyncDisposableStack();
  const servers = Array.from(
    { length: SERVERS },
    (_, index) => stack.use(misbehavingServer(findings, seededRandom(seed + index), tried)),
  );
  const proxy = stack.use(
    await startProxy({
      listen: { hostname: "127.0.0.1", port: 0, engine: "http1" },
      upstreams: {
        servers: servers.map(({ address }) => address),
        transport: "http1",
        ejection: false,
        timeouts: { response: "400ms" },
      },
      routes: [
        {
          match: { path: "/f/*" },
          filters: [{
            requestBodyFilter: unchanged,
            responseBodyFilter: unchanged,
            responseFilter: ({ headers }) => headers.set("x-filtered", "1"),
          }],
        },
        { match: {} },
      ],
    }),
  );
  const endsAt = performance.now() + seconds * 1000;
  const until = () => performance.now() >= endsAt;
  const clients = Array.from(
    { length: CLIENTS },
    (_, index) => new Client(index, proxy.port, seededRandom(seed + 100 + index), findings),
  );
  await Promise.all(clients.map((client) => client.run(until)));
  return findings;
}

if (import.meta.main) {
  const [seconds = DEFAULT_SECONDS, seed = Math.floor(Math.random() * 2 ** 31)] = Deno.args.map(Number);
  // deno-lint-ignore no-console
  const say = console.log;
  say(`${CLIENTS} clients for ${seconds} s: deno task crosstalk ${seconds} ${seed}`);
  const { crossed, hung, counts } = await crossTalk(seconds, seed);
  for (const what of Object.keys(counts).sort()) say(`${String(counts[what]).padStart(8)} ${what}`);
  const responses = Object.entries(counts).filter(([what]) => / \d{3}$/.test(what));
  say(
    `${
      responses.reduce((sum, [, count]) => sum + count, 0)
    } responses, ${crossed.length} crossed, ${hung.length} never came`,
  );
  for (const each of [...crossed, ...hung]) say(each);
  if (crossed.length + hung.length > 0) Deno.exit(1);
}
