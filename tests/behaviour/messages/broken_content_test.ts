import { assertEquals } from "@std/assert";
import { ClientGoneError } from "../../../lib/core/errors.ts";
import { ENGINE, engineCan } from "../../support/engine.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { latin1Text } from "../../support/raw_connection.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const CHUNKED = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

/** Chunked content with a fault, each with the status that it gets. */
const BROKEN: readonly (readonly [fault: string, status: number, content: string])[] = [
  ["a chunk extension without end", 400, `5;x=${"a".repeat(10_240)}\r\nhello\r\n0\r\n\r\n`],
  ["a size that is no number", 400, "zz\r\nhello\r\n0\r\n\r\n"],
  ["a chunk longer than its size", 400, "3\r\nhello\r\n0\r\n\r\n"],
  ["a bare LF behind a size", 400, "5\nhello\r\n0\r\n\r\n"],
  ["one trailer field of 100 KiB", 431, `5\r\nhello\r\n0\r\nX: ${"a".repeat(102_400)}\r\n\r\n`],
  ["trailer fields of 100 KiB together", 431, `5\r\nhello\r\n0\r\n${"X: aaaaa\r\n".repeat(10_240)}\r\n`],
];

/** A server that reads for ever, and tells when it has the beginning of the content. */
function readingUpstream() {
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const upstream = rawUpstream(async (connection) => {
    await connection.readUntil("first");
    resolve();
    const rest = latin1Text(await connection.readToEnd().catch(() => new Uint8Array(0)));
    assertEquals(rest.includes("0\r\n\r\n"), false, rest);
  });
  return Object.assign(upstream, { begun });
}

for (const [fault, status, content] of BROKEN) {
  eachTransport(`proxy answers ${status} at once to ${fault}`, async (start) => {
    await using upstream = readingUpstream();
    await using proxy = await start({ upstreams: [upstream.address] });
    using connection = await proxy.connect();
    // One by one: a fault in what comes with the head has the runtime close the connection without a response.
    await connection.write(`${CHUNKED}5\r\nfirst\r\n`);
    await upstream.begun;
    await connection.write(content).catch(() => {});
    const head = await connection.readHead();
    assertEquals(head?.slice(9, 12), String(status));
    assertEquals(head!.match(/^connection: close\r$/gim)?.length, 1);
    const entry = await proxy.seen.untilEntries(1);
    assertEquals([entry.status, entry.error], [status, "http_request_error"]);
    // Nothing of it is the server's fault, and it is not told that this was all.
    assertEquals(proxy.servers.map(({ ejected }) => ejected), [false]);
    await upstream.untilOpen(0);
    assertEquals(upstream.errors, []);
  });
}

eachTransport(
  "proxy drops trailer fields that may not be passed on, and serves the request",
  async (start) => {
    await using upstream = recordingUpstream();
    await using proxy = await start({ upstreams: [upstream.address] });
    const content = `5\r\nhello\r\n0\r\nX: ${
      "a".repeat(engineCan("trailers above 8 KiB") ? 60_000 : 8000)
    }\r\n\r\n`;
    assertEquals((await proxy.ask("POST /", ["Transfer-Encoding: chunked"], content)).status, 200);
    assertEquals(latin1Text(upstream.requests[0]!.body), "hello");
  },
);

eachTransport("proxy carries chunked content that comes in drops", async (start) => {
  await using upstream = startUpstream({ handler: async (request) => new Response(await request.bytes()) });
  await using proxy = await start({ upstreams: [upstream.address] });
  const content = Array.from({ length: 300 }, (_, index) => `${index},`);
  const pieces = ReadableStream.from(content).pipeThrough(new TextEncoderStream());
  const response = await proxy.fetch("/", { method: "POST", body: pieces });
  assertEquals(await response.text(), content.join(""));
});

for (const framing of ["Content-Length: 5", "Transfer-Encoding: chunked"]) {
  eachTransport(
    `proxy keeps no connection whose response ended before the content (${framing})`,
    async (start) => {
      await using upstream = rawUpstream(async (connection) => {
        await connection.readHead();
        await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
      });
      await using proxy = await start({ upstreams: [upstream.address] });
      using connection = await proxy.connect();
      await connection.write(`POST / HTTP/1.1\r\nHost: h\r\n${framing}\r\n\r\n`);
      assertEquals(latin1Text((await connection.readResponse("POST")).body), "ok");
      // The proxy may have closed it by now.
      await connection.write(framing.endsWith("5") ? "hello" : "5\r\nhello\r\n0\r\n\r\n").catch(() => {});
      await connection.closeWrite().catch(() => {});
      await connection.untilClosed();
      await proxy.seen.untilEntries(1);
    },
  );
}

Deno.test("proxy gives the status 499 to nobody", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    requestBodyFilter: () =>
      new ReadableStream({ pull: (controller) => controller.error(new ClientGoneError("It has gone")) }),
  });
  if (ENGINE === "deno") {
    const answer = await proxy.ask("POST /", ["Content-Length: 3"], "abc");
    assertEquals([answer.status, answer.field("proxy-status")], [400, "lbproxy; error=http_request_error"]);
    assertEquals(JSON.parse(answer.text).status, 400);
  } else {
    using connection = await proxy.connect();
    await connection.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    await connection.untilClosed();
  }
  assertEquals((await proxy.seen.untilEntries(1)).status, 499);
});
