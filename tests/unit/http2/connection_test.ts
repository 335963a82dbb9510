/** Both sides of HTTP/2, which talk to each other in memory. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { ClientGoneError } from "../../../lib/core/errors.ts";
import { type Body, type Bytes, WholeBody } from "../../../lib/http/message.ts";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import { CODE } from "../../../lib/http2/frame_type.ts";
import { KIND } from "../../../lib/http2/field_kind.ts";
import { SentContent } from "../../../lib/http2/sent_content.ts";
import type { Http2Stream, RequestFields } from "../../../lib/http2/stream.ts";
import { exchange, makeSide, type Side, TestStreamOwner } from "../../support/http2_pair.ts";

const NO_FIELDS = new HeaderFields();

function ask(
  side: Side,
  target: string,
  { end = true, ...rest }: Partial<RequestFields> & { end?: boolean } = {},
): {
  stream: Http2Stream;
  owner: TestStreamOwner;
} {
  const owner = new TestStreamOwner();
  const stream = side.connection.open(owner);
  const { method = "GET", fields = NO_FIELDS, length = null } = rest;
  stream.request({ method, scheme: "https", authority: "a.example", target, fields, length }, end);
  return { stream, owner };
}

function pair(options: Parameters<typeof makeSide>[1] = {}): { client: Side; server: Side } {
  const client = makeSide("client", options);
  const server = makeSide("server", options);
  exchange(client, server);
  return { client, server };
}

const SENT = { onSent(): void {}, onBroken(): void {} };

function send(stream: Http2Stream, owner: TestStreamOwner, body: Body): SentContent {
  const content = new SentContent(stream, SENT);
  owner.room = () => content.onRoom();
  content.send(body);
  return content;
}

/** Content in pieces, with trailers. */
function pieces(all: readonly Bytes[], trailers: readonly string[] = []): Body {
  let at = 0;
  const read = (): Promise<Bytes | null> => Promise.resolve(all[at++] ?? null);
  return { length: null, ready: null, whole: null, trailers, read, cancel: () => {} };
}

/** Lets both sides talk, and what they wait for go on, until the promise is settled. */
async function until<T>(promise: Promise<T>, client: Side, server: Side, piece?: number): Promise<T> {
  let over = false;
  promise.finally(() => over = true).catch(() => {});
  for (let turn = 0; turn < 20_000 && !over; turn++) {
    exchange(client, server, piece);
    await Promise.resolve();
  }
  assert(over, "it waits for ever");
  return await promise;
}

async function readAll(body: Body): Promise<Uint8Array> {
  const all: number[][] = [];
  for (let piece = await body.read(); piece !== null; piece = await body.read()) all.push([...piece]);
  return Uint8Array.from(all.flat());
}

function filled(length: number, seed = 1): Bytes {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + seed + (i >> 8)) & 0xff);
}

Deno.test("a request and its response, with fields as lines of HTTP/1.1", () => {
  const { client, server } = pair();
  const fields = new HeaderFields([["cookie", "a=1"], ["x-tag", "1"], ["cookie", "b=2"], ["x-tag", "2"]]);
  const { stream, owner } = ask(client, "/path?q=1", { fields });
  exchange(client, server);
  const [request] = server.owner.streams;
  const head = request!.head!;
  assertEquals([KIND.METHOD, KIND.SCHEME, KIND.AUTHORITY, KIND.PATH].map((kind) => head.text(kind)), [
    "GET",
    "https",
    "a.example",
    "/path?q=1",
  ]);
  const headers = new HeaderFields();
  headers.begin(head.lines);
  assertEquals([...headers], [["host", "a.example"], ["x-tag", "1"], ["x-tag", "2"], ["cookie", "a=1; b=2"]]);
  assertEquals(request!.content, null);
  request!.respond(103, new HeaderFields({ link: "</a>" }), null, false);
  request!.respond(200, new HeaderFields({ "x-b": "c" }), 3, false);
  send(request!, request!.owner as TestStreamOwner, new WholeBody(filled(3)));
  exchange(client, server);
  assertEquals(owner.heads, 2);
  assertEquals(stream.head!.status, 200);
  assertEquals(stream.content!.length, 3);
  assertEquals(stream.content!.whole, filled(3));
  assertEquals([client.connection.active, server.connection.active], [0, 0]);
});

Deno.test("any content comes through unchanged, with trailers, both ways at once, however it is cut", async () => {
  const sizes = fc.array(fc.nat(40_000), { minLength: 1, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ up: sizes, down: sizes, trailers: fc.boolean() }), { minLength: 1, maxLength: 4 }),
      fc.constantFrom(1, 7, 100, 5000, 100_000),
      async (requests, piece) => {
        const { client, server } = pair();
        const whole = (lengths: readonly number[]): Uint8Array =>
          Uint8Array.from(lengths.flatMap((length, i) => [...filled(length, i)]));
        const small = piece < 100 ? 500 : Infinity;
        const cut = (lengths: readonly number[]): number[] =>
          lengths.map((length) => Math.min(length, small));
        const work = requests.map(async ({ up, down, trailers }, i) => {
          const list = trailers ? ["x-sum", String(i)] : [];
          const { stream, owner } = ask(client, `/${i}`, { method: "POST", end: false });
          send(stream, owner, pieces(cut(up).map(filled), list));
          while (server.owner.streams.length <= i) await Promise.resolve();
          const request = server.owner.streams[i]!;
          assertEquals(await readAll(request.content!), whole(cut(up)));
          assertEquals(request.content!.trailers, list);
          request.respond(200, NO_FIELDS, null, false);
          send(request, request.owner as TestStreamOwner, pieces(cut(down).map(filled), list));
          while (stream.content === null) await Promise.resolve();
          assertEquals(await readAll(stream.content), whole(cut(down)));
          assertEquals(stream.content.trailers, list);
          stream.release();
          request.release();
        });
        await until(Promise.all(work), client, server, piece);
        exchange(client, server, piece);
        assertEquals([client.owner.failure, server.owner.failure], [null, null]);
        assertEquals([client.connection.active, server.connection.active], [0, 0]);
      },
    ),
    { seed: 11, numRuns: 40 },
  );
});

Deno.test("what is not read is not kept beyond the window, and goes on once it is read", async () => {
  const { client, server } = pair();
  const { stream, owner } = ask(client, "/", { method: "POST", end: false });
  const content = send(stream, owner, pieces(Array.from({ length: 40 }, () => filled(16_384))));
  for (let i = 0; i < 100; i++) {
    exchange(client, server);
    await Promise.resolve();
  }
  assertEquals(content.bytes, 65_535);
  assert(stream.stalledSince < Infinity);
  const received = server.owner.streams[0]!.content!;
  const read = readAll(received);
  assertEquals((await until(read, client, server)).length, 40 * 16_384);
  assertEquals(stream.stalledSince, Infinity);
});

Deno.test("content that nobody reads holds up its own stream, and no other one", async () => {
  const { client, server } = pair();
  const slow = ask(client, "/slow", { method: "POST", end: false });
  send(slow.stream, slow.owner, pieces([filled(100_000)]));
  const fast = ask(client, "/fast", { method: "POST", end: false });
  send(fast.stream, fast.owner, pieces([filled(300_000)]));
  for (let i = 0; i < 20; i++) {
    exchange(client, server);
    await Promise.resolve();
  }
  const read = readAll(server.owner.streams[1]!.content!);
  assertEquals((await until(read, client, server)).length, 300_000);
  // What is called off makes room in the connection again.
  server.owner.streams[0]!.content!.cancel();
  server.owner.streams[0]!.reset(CODE.CANCEL);
  exchange(client, server);
  assertEquals(slow.owner.reset?.code, CODE.CANCEL);
  assertEquals(client.connection.active, 1);
});

Deno.test("streams share what the connection lets through", async () => {
  const { client, server } = pair({ streamWindow: 1 << 20, connectionWindow: 1 << 20 });
  const all = Array.from({ length: 4 }, (_, i) => {
    const { stream, owner } = ask(client, `/${i}`, { method: "POST", end: false });
    return send(stream, owner, pieces([filled(200_000)]));
  });
  for (let i = 0; i < 4; i++) {
    await Promise.resolve();
    client.connection.outputWritten(client.connection.takeOutput());
  }
  const bytes = all.map((content) => content.bytes);
  assert(Math.max(...bytes) - Math.min(...bytes) < 65_536 + 1024, String(bytes));
  exchange(client, server);
});

Deno.test("a reset of either side ends the other one's reading and writing", async () => {
  const { client, server } = pair();
  const { stream, owner } = ask(client, "/", { method: "POST", end: false });
  exchange(client, server);
  const request = server.owner.streams[0]!;
  const failed = assertRejects(() => request.content!.read(), ClientGoneError);
  stream.reset(CODE.CANCEL);
  exchange(client, server);
  const { reset } = request.owner as TestStreamOwner;
  assertEquals([reset!.code, reset!.by, reset!.unprocessed], [CODE.CANCEL, "peer", false]);
  request.content!.fail(new ClientGoneError(reset!.message));
  await failed;
  assertEquals(request.write(filled(5), 0, 5, true), 0);
  assertEquals(owner.reset, null);
  assertEquals([client.connection.active, server.connection.active], [0, 0]);
});

Deno.test("a request that is called off in the same read is never handed on", () => {
  const { client, server } = pair();
  for (let i = 0; i < 5; i++) ask(client, "/").stream.reset(CODE.CANCEL);
  exchange(client, server);
  assertEquals(server.owner.streams, []);
  assertEquals(server.connection.active, 0);
});

Deno.test("more streams than allowed are refused, and can be sent again", () => {
  const { client, server } = pair({ maxStreams: 2 });
  assertEquals(client.connection.peerMaxStreams, 2);
  const [first, second, third] = ["/1", "/2", "/3"].map((target) => ask(client, target));
  assert(!client.connection.canOpen);
  exchange(client, server);
  assertEquals(server.owner.streams.length, 2);
  assertEquals(third!.owner.reset?.unprocessed, true);
  assertEquals([first!.owner.reset, second!.owner.reset], [null, null]);
  server.owner.streams[0]!.respond(204, NO_FIELDS, null, true);
  exchange(client, server);
  assert(client.connection.canOpen);
});

Deno.test("an end that is announced takes what was on its way, and nothing after a round trip", () => {
  const { client, server } = pair();
  const first = ask(client, "/1");
  exchange(client, server);
  server.connection.shutDown();
  // It crosses the word that the connection ends.
  const second = ask(client, "/2");
  exchange(client, server);
  assertEquals(client.owner.goAway, CODE.NO_ERROR);
  assert(!client.connection.canOpen);
  assertEquals(server.owner.streams.length, 2);
  for (const stream of server.owner.streams) stream.respond(200, NO_FIELDS, 0, true);
  ask(client, "/3");
  exchange(client, server);
  assertEquals([first, second].map(({ owner }) => [owner.heads, owner.reset]), [[1, null], [1, null]]);
  assertEquals(server.owner.streams.length, 2);
  assertEquals(server.owner.failure, null);
});

Deno.test("a client learns which requests a server that ends has not looked at", () => {
  const { client, server } = pair();
  const taken = ask(client, "/1");
  exchange(client, server);
  server.connection.fail(CODE.NO_ERROR);
  const left = ask(client, "/2");
  exchange(client, server);
  assertEquals(taken.owner.reset, null);
  assertEquals([left.owner.reset?.by, left.owner.reset?.unprocessed], ["connection", true]);
});

Deno.test("heads of many frames come whole", () => {
  const { client, server } = pair({ maxHeadBytes: 200_000 });
  const fields = new HeaderFields();
  for (let i = 0; i < 20; i++) fields.append(`x-${i}`, "\u00ff".repeat(5000));
  ask(client, "/", { fields });
  exchange(client, server, 999);
  const headers = new HeaderFields();
  headers.begin(server.owner.streams[0]!.head!.lines);
  assertEquals([...headers].slice(1), [...fields]);
});

Deno.test("a head beyond its bounds says so, and the next one is read", () => {
  const { client, server } = pair({ maxHeadBytes: 2000, maxFields: 10 });
  const many = new HeaderFields(Array.from({ length: 12 }, (_, i): [string, string] => [`x-${i}`, ""]));
  ask(client, "/1", { fields: new HeaderFields({ "x-long": "y".repeat(2500) }) });
  ask(client, "/2", { fields: many });
  ask(client, "/3");
  exchange(client, server);
  assertEquals(server.owner.streams.map(({ head }) => head!.excess), ["bytes", "fields", null]);
});

Deno.test("a client may call off as many requests as it lets end, and no more without end", () => {
  for (const lets of [true, false]) {
    const { client, server } = pair();
    for (let i = 0; i < 500; i++) {
      if (lets) {
        ask(client, "/good");
        exchange(client, server);
        server.owner.streams.at(-1)!.respond(200, NO_FIELDS, null, true);
      }
      const { stream } = ask(client, "/bad");
      exchange(client, server);
      stream.reset(CODE.CANCEL);
      exchange(client, server);
    }
    assertEquals(server.owner.failure?.code, lets ? undefined : CODE.ENHANCE_YOUR_CALM);
  }
});

Deno.test("content that was called off before it was read never looks whole, even if all of it had come", async () => {
  for (const length of [2, 0]) {
    const { client, server } = pair();
    const { stream } = ask(client, "/");
    exchange(client, server);
    const response = server.owner.streams.at(-1)!;
    response.respond(200, NO_FIELDS, null, false);
    response.write(new Uint8Array(length), 0, length, true);
    exchange(client, server);
    const content = stream.content!;
    assertEquals(content.ended, true);
    content.abort(new ClientGoneError());
    if (length > 0) await assertRejects(() => content.read(), ClientGoneError);
    else assertEquals(await content.read(), null);
  }
});
