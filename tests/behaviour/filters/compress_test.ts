import { assertEquals, assertLess, assertThrows } from "@std/assert";
import { compress, type CompressOptions, type ContentCoding } from "../../../lib/filters/compress.ts";
import { checksum, patternStream } from "../../support/checksum.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { type Answer, startProxy } from "../../support/start_proxy.ts";
import { untilStill } from "../../support/until_still.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const MIB = 1024 * 1024;
const TEXT = "All work and no play makes Jack a dull boy.\n".repeat(200);
const GZIP = ["Accept-Encoding: gzip"];

const answer = (lines: string[], body = TEXT, status = "200 OK") =>
  [`HTTP/1.1 ${status}`, ...lines, `Content-Length: ${body.length}`, "", body].join("\r\n");

async function decoded({ body, field }: Answer): Promise<string> {
  const coding = field("content-encoding");
  if (coding === undefined) return new TextDecoder().decode(body);
  const format = (coding === "br" ? "brotli" : coding) as CompressionFormat;
  return await new Response(new Blob([body]).stream().pipeThrough(new DecompressionStream(format))).text();
}

for (const coding of ["gzip", "br"] as const) {
  eachTransport(`compress() codes text with ${coding} and says so`, async (start) => {
    await using upstream = recordingUpstream(
      answer([
        "Content-Type: text/plain; charset=utf-8",
        'ETag: "x"',
        "Accept-Ranges: bytes",
        "Vary: Cookie",
      ]),
    );
    await using proxy = await start({ upstreams: [upstream.address], filters: [compress()] });
    const got = await proxy.ask("GET /", [`Accept-Encoding: ${coding}`]);
    const fields = ["content-encoding", "vary", "etag", "accept-ranges", "content-length"].map(got.field);
    assertEquals(fields, [coding, "Cookie, Accept-Encoding", 'W/"x"', undefined, undefined]);
    assertEquals(await decoded(got), TEXT);
    assertLess(got.body.length, 400);
    const entry = await proxy.seen.untilEntries(1);
    assertEquals([entry.bytesSent, entry.error], [got.body.length, null]);
  });
}

const negotiated: [string, string | null, readonly ContentCoding[] | undefined, string | undefined][] = [
  ["nothing said", null, undefined, undefined],
  ["nothing wanted", "", undefined, undefined],
  ["only identity", "identity", undefined, undefined],
  ["what browsers say", "gzip, deflate, br, zstd", undefined, "gzip"],
  ["Brotli liked better", "gzip;q=0.5, br", undefined, "br"],
  ["anything", "*", undefined, "gzip"],
  ["anything but gzip", "*, gzip;q=0", undefined, "br"],
  ["gzip refused", "gzip;q=0", undefined, undefined],
  ["gzip refused in capitals", "GZIP;Q=0", undefined, undefined],
  ["identity liked better", "gzip;q=0.5, identity", undefined, undefined],
  ["what we do not have", "zstd, deflate", undefined, undefined],
  ["what we are not to do", "br", ["gzip"], undefined],
  ["Brotli preferred by us", "gzip, br", ["br", "gzip"], "br"],
  ["capitals", "GZIP", undefined, "gzip"],
  ["no list at all", ";;q=,,=gzip", undefined, undefined],
];
for (const [name, accept, encodings, coding] of negotiated) {
  Deno.test(`compress() negotiates: ${name}`, async () => {
    await using upstream = recordingUpstream(answer(["Content-Type: text/html"]));
    const options: CompressOptions = encodings === undefined ? {} : { encodings };
    await using proxy = await startProxy({ upstreams: [upstream.address], filters: [compress(options)] });
    const got = await proxy.ask("GET /", accept === null ? [] : [`Accept-Encoding: ${accept}`]);
    assertEquals(got.field("content-encoding"), coding);
    // The next client may say something else.
    assertEquals(got.field("vary"), "Accept-Encoding");
    assertEquals(await decoded(got), TEXT);
  });
}

const alone: [string, string, string[]?][] = [
  ["is coded already", answer(["Content-Type: text/plain", "Content-Encoding: gzip"])],
  ["says that it is not coded", answer(["Content-Type: text/plain", "Content-Encoding: identity"])],
  ["is an image", answer(["Content-Type: image/png"])],
  ["has no type", answer([])],
  ["is short", answer(["Content-Type: text/plain"], "a".repeat(1023))],
  ["must not be changed", answer(["Content-Type: text/plain", "Cache-Control: public, No-Transform"])],
  ["must not be held up", answer(["Content-Type: text/plain", "X-Accel-Buffering: no"])],
  [
    "is a part",
    answer(["Content-Type: text/plain", "Content-Range: bytes 0-8799/9000"], TEXT, "206 Partial Content"),
    ["Range: bytes=0-8799"],
  ],
  ["must not be changed for this client", answer(["Content-Type: text/plain"]), [
    "Cache-Control: no-transform",
  ]],
];
for (const [name, bytes, lines = []] of alone) {
  Deno.test(`compress() leaves alone what ${name}`, async () => {
    await using upstream = recordingUpstream(bytes);
    await using proxy = await startProxy({ upstreams: [upstream.address], filters: [compress()] });
    await using plain = await startProxy({ upstreams: [upstream.address] });
    const got = await proxy.ask("GET /", [...GZIP, ...lines]);
    const expected = await plain.ask("GET /", [...GZIP, ...lines]);
    assertEquals(got.field("content-encoding"), expected.field("content-encoding"));
    assertEquals([got.status, got.text, got.field("content-length")], [
      expected.status,
      expected.text,
      expected.field("content-length"),
    ]);
  });
}

Deno.test("compress() leaves answers without content alone", async () => {
  await using upstream = recordingUpstream(({ startLine }) =>
    startLine.startsWith("HEAD")
      ? "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9000\r\n\r\n"
      : startLine.includes("/204")
      ? "HTTP/1.1 204 No Content\r\nContent-Type: text/plain\r\n\r\n"
      : 'HTTP/1.1 304 Not Modified\r\nContent-Type: text/plain\r\nETag: "x"\r\n\r\n'
  );
  await using proxy = await startProxy({ upstreams: [upstream.address], filters: [compress()] });
  for (const [request, vary] of [["HEAD /", "Accept-Encoding"], ["GET /204"], ["GET /304"]] as const) {
    const { field, text } = await proxy.ask(request, GZIP);
    assertEquals([field("content-encoding"), field("vary"), text], [undefined, vary, ""], request);
  }
});

Deno.test("compress() does not code twice, not even twice configured", async () => {
  await using upstream = recordingUpstream(answer(["Content-Type: application/json"]));
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [compress(), compress({ encodings: ["br"] }), compress()],
  });
  const got = await proxy.ask("GET /", ["Accept-Encoding: gzip, br"]);
  assertEquals([got.field("content-encoding"), got.field("vary")], ["gzip", "Accept-Encoding"]);
  assertEquals(await decoded(got), TEXT);
});

for (const coding of ["gzip", "br"] as const) {
  Deno.test(`compress() hands events on as they come, with ${coding}`, async () => {
    const more = Promise.withResolvers<void>();
    await using upstream = rawUpstream(async (connection) => {
      await connection.readHead();
      const event = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
      await connection.write(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
          event("data: 1\n\n"),
      );
      await more.promise;
      await connection.write(event("data: 2\n\n") + "0\r\n\r\n");
      await connection.readHead();
    });
    await using proxy = await startProxy({ upstreams: [upstream.address], filters: [compress()] });
    // `fetch` undoes the coding.
    const response = await proxy.fetch("/", { headers: { "accept-encoding": coding } });
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    assertEquals((await reader.read()).value, "data: 1\n\n");
    // The second event is sent only now that the first has come.
    more.resolve();
    let rest = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) rest += part.value;
    assertEquals(rest, "data: 2\n\n");
  });
}

Deno.test("compress() passes 64 MiB, coded, whole", async () => {
  const size = 64 * MIB;
  await using upstream = startUpstream({
    handler: () => new Response(patternStream(size), { headers: { "content-type": "text/plain" } }),
  });
  await using proxy = await startProxy({ upstreams: [upstream.address], filters: [compress()] });
  const response = await proxy.fetch("/", { headers: { "accept-encoding": "gzip" } });
  assertEquals(await checksum(response.body), await checksum(patternStream(size)));
  assertLess((await proxy.seen.untilEntries(1)).bytesSent, size / 2);
});

eachTransport("compress() stops reading from the server while the client does not read", async (start) => {
  // Longer than the window of gzip, so that it does not get shorter.
  const noise = crypto.getRandomValues(new Uint8Array(65536));
  let sent = 0;
  await using upstream = startUpstream({
    handler: () => {
      const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
        pull(controller) {
          sent += noise.length;
          controller.enqueue(noise.slice());
          if (sent >= 256 * MIB) controller.close();
        },
      }, { highWaterMark: 0 });
      return new Response(stream, { headers: { "content-type": "text/plain" } });
    },
  });
  await using proxy = await start({ upstreams: [upstream.address], filters: [compress()] });
  using client = await proxy.connect();
  await client.write("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n");
  await client.readHead();
  await untilStill(() => sent);
  assertLess(sent, 32 * MIB);
  client.close();
  assertEquals((await proxy.seen.untilEntries(1)).status, 499);
});

eachTransport("compress() breaks off what the server broke off", async (start) => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    await connection.write(
      `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n${TEXT}`,
    );
  });
  await using proxy = await start({ upstreams: [upstream.address], filters: [compress()] });
  using connection = await proxy.connect();
  await connection.write("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n");
  await connection.readHead();
  const rest = new TextDecoder("latin1").decode(await connection.readToEnd().catch(() => new Uint8Array(0)));
  assertEquals(rest.endsWith("0\r\n\r\n"), false);
  assertEquals((await proxy.seen.untilEntries(1)).error, "http_response_incomplete");
});

eachTransport("compress() ends the request at the server when the client has gone", async (start) => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    await connection.write(
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for (let n = 0; n < 100_000; n++) await connection.write(`${TEXT.length.toString(16)}\r\n${TEXT}\r\n`);
  });
  await using proxy = await start({ upstreams: [upstream.address], filters: [compress()] });
  const connection = await proxy.connect();
  await connection.write("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n");
  await connection.readHead();
  connection.close();
  await upstream.untilOpen(0);
  assertEquals((await proxy.seen.untilEntries(1)).status, 499);
});

Deno.test("compress() refuses options that cannot be meant", () => {
  assertThrows(() => compress({ minSize: "1 KB" }), TypeError, "minSize");
  assertThrows(() => compress({ encodings: ["zstd" as "gzip"] }), TypeError, '"gzip" or "br"');
  assertThrows(() => compress({ encodings: ["constructor" as "gzip"] }), TypeError, '"gzip" or "br"');
});
