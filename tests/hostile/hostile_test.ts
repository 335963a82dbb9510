import { assert, assertEquals } from "@std/assert";
import { readNaively } from "../support/naive_request_parser.ts";
import { latin1Text, type RawConnection } from "../support/raw_connection.ts";
import { type RawUpstream, rawUpstream } from "../support/raw_upstream.ts";
import { startProxy, type TestProxy } from "../support/start_proxy.ts";
import { type HostileCase, LAST, post } from "./hostile_case.ts";
import { HOSTILE_FRAMING } from "./hostile_framing.ts";
import { HOSTILE_HEADS } from "./hostile_heads.ts";

const LISTEN = { hostname: "127.0.0.1", port: 0, engine: "http1" } as const;
/** Longer bytes are not sent one by one. */
const MOST_WRITES = 400;

/** Heads that servers get have what the proxy says of the client too. */
const FORWARDED = { maxHead: 33_768, maxFields: 210 };

/** What one connection brought a server. */
interface Received {
  text: string;
  answered: number;
}

/** A server that keeps every byte, and responds to each request that is whole with its target. */
function byteRecorder(): { upstream: RawUpstream; received: Received[] } {
  const received: Received[] = [];
  const upstream = rawUpstream(async (connection, index) => {
    const mine = received[index] = { text: "", answered: 0 };
    for (let bytes = await connection.read(); bytes !== null; bytes = await connection.read()) {
      mine.text += latin1Text(bytes);
      const { requests } = readNaively(mine.text, FORWARDED);
      for (; mine.answered < requests.length; mine.answered++) {
        const { method, target } = requests[mine.answered]!;
        const content = method === "HEAD" ? "" : target;
        await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${content}`);
      }
    }
  });
  return { upstream, received };
}

/** Sends everything and takes what comes until the proxy closes; it may do so before it has taken all. */
async function exchange(connection: RawConnection, pieces: Iterable<string>): Promise<string> {
  const sending = (async () => {
    for (const piece of pieces) await connection.write(piece);
  })().catch(() => {});
  const text = latin1Text(await connection.readToEnd());
  connection.close();
  await sending;
  return text;
}

async function check(
  proxy: TestProxy,
  each: HostileCase,
  pieces: Iterable<string>,
  received: readonly Received[],
) {
  for (const connection of received) {
    connection.text = "";
    connection.answered = 0;
  }
  const connection = await proxy.connect();
  // Each piece is to come by itself, and at once.
  (connection.conn as Deno.TcpConn).setNoDelay(true);
  const text = await exchange(connection, pieces);
  const statuses = [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
  assertEquals(statuses, each.statuses, text);
  assert(/\r\nconnection: close\r\n/i.test(text), "the last response says that the connection ends");
  const next = await proxy.ask("GET /next");
  assertEquals([next.status, next.text], [200, "/next"], "the next request of another client");
  const startLines: string[] = [];
  for (const { text: bytes } of received) {
    const { requests, end } = readNaively(bytes, FORWARDED);
    assert(end === "open" || end === "closed", `a server got what is malformed: ${JSON.stringify(bytes)}`);
    for (const { method, target } of requests) startLines.push(`${method} ${target} HTTP/1.1`);
    const rest = bytes.slice(requests.at(-1)?.next ?? 0);
    assert(rest === "" || each.begun, `a server got the beginning of a request: ${JSON.stringify(rest)}`);
  }
  // Which connection of the pool served which of them is of no matter.
  assertEquals(startLines.sort(), [...each.served, "GET /next HTTP/1.1"].sort());
}

const CASES = [...HOSTILE_HEADS, ...HOSTILE_FRAMING];

for (const each of CASES) {
  Deno.test(`http1 engine: ${each.name} gives ${each.statuses.join(", ")}`, async () => {
    const { upstream, received } = byteRecorder();
    await using _upstream = upstream;
    await using proxy = await startProxy({ upstreams: [upstream.address], listen: LISTEN });
    await check(proxy, each, [each.bytes], received);
    if (each.bytes.length <= MOST_WRITES) await check(proxy, each, each.bytes, received);
    assertEquals(upstream.errors, []);
  });
}

Deno.test("trailer fields go on only where they may stand, and not in the place of other fields", async () => {
  const { upstream, received } = byteRecorder();
  await using _upstream = upstream;
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: LISTEN });
  using connection = await proxy.connect();
  const refused = [
    "Content-Length: 9",
    "Transfer-Encoding: x",
    "Host: evil",
    "X-Forwarded-For: 192.0.2.9",
    "Cookie: a",
  ];
  const trailers = [...refused, "X_Forwarded_For: 192.0.2.9", "X-Named: a", "X-Kept: a", ""].join("\r\n");
  const lines = ["Transfer-Encoding: chunked", "Connection: x-named"];
  await connection.write(post(lines, `3\r\nabc\r\n0\r\n${trailers}\r\n${LAST}`));
  assertEquals((await connection.readResponse()).status, 200);
  assertEquals((await connection.readResponse()).status, 200);
  const { requests } = readNaively(received[0]!.text, FORWARDED);
  assertEquals(requests[0]!.trailers, ["x-kept", "a"]);
  assert(!/0\r\n(?!x-kept: a\r\n\r\n)/i.test(received[0]!.text.split("abc\r\n")[1]!), received[0]!.text);
});

Deno.test("there are at least 120 hostile requests, each with a name of its own", () => {
  const hostile = CASES.filter(({ statuses }) => statuses.at(-1) !== 200);
  assert(hostile.length >= 120, `${hostile.length}`);
  assertEquals(new Set(CASES.map(({ name }) => name)).size, CASES.length);
});
