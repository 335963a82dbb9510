import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { maxBodySize } from "../../../lib/filters/max_body_size.ts";
import { engineCan } from "../../support/engine.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const chunked = (...sizes: number[]) =>
  sizes.map((size) => `${size.toString(16)}\r\n${"a".repeat(size)}\r\n`).join("") + "0\r\n\r\n";

eachTransport("maxBodySize() lets content through that is not too long", async (start) => {
  await using upstream = startUpstream();
  await using proxy = await start({ upstreams: [upstream.address], filters: [maxBodySize(100)] });
  const statuses: number[] = [];
  for (
    const [lines, body] of [
      [["Content-Length: 100"], "a".repeat(100)],
      [["Content-Length: 0"], ""],
      [["Transfer-Encoding: chunked"], chunked(60, 40)],
      [["Transfer-Encoding: chunked"], chunked()],
    ] as [string[], string][]
  ) statuses.push((await proxy.ask("POST /", lines, body)).status);
  statuses.push((await proxy.ask("GET /")).status);
  assertEquals(statuses, [200, 200, 200, 200, 200]);
  assertEquals(upstream.seen.map(({ body }) => body.length), [100, 0, 100, 0, 0]);
  assertEquals(upstream.seen[0]?.headers.get("content-length"), "100");
});

for (const declared of ["101", "99999999999999999999999", "1000000000000"]) {
  eachTransport(`maxBodySize() refuses ${declared} bytes before they come`, async (start) => {
    await using upstream = startUpstream();
    await using proxy = await start({ upstreams: [upstream.address], filters: [maxBodySize(100)] });
    // Nothing of the content is sent, so the answer cannot have waited for it.
    const { status, field, text } = await proxy.ask("POST /", [`Content-Length: ${declared}`]);
    // The runtime itself refuses a length beyond 64 bits.
    if (declared.length > 20) assertEquals(status, 400);
    else {
      assertEquals([status, field("content-type")], [413, "application/problem+json"]);
      assertMatch(text, /longer than 100 bytes/);
    }
    assertEquals(upstream.requests, 0);
  });
}

eachTransport("maxBodySize() breaks off a request whose content becomes too long", async (start) => {
  const seen: string[] = [];
  await using upstream = rawUpstream(async (connection) => {
    if (await connection.readHead() === null) return;
    let text = "";
    for (;;) {
      const part = await connection.read().catch(() => null);
      if (part === null) break;
      text += new TextDecoder().decode(part);
    }
    seen.push(text);
  });
  await using proxy = await start({ upstreams: [upstream.address], filters: [maxBodySize("64KiB")] });
  const sizes = Array(40).fill(4096);
  const { status, field } = await proxy.ask("POST /", ["Transfer-Encoding: chunked"], chunked(...sizes));
  assertEquals([status, field("content-type")], [413, "application/problem+json"]);
  await upstream.untilOpen(0);
  // Whether a server was reached at all depends on the transport; none may have seen an end.
  for (const text of seen) {
    assertEquals([text.length < 80_000, text.endsWith("0\r\n\r\n")], [true, false]);
  }
  const entry = await proxy.seen.untilEntries(1);
  assertEquals([entry.status, entry.error], [413, "http_request_error"]);
});

eachTransport("maxBodySize() does not believe a length that is too small", async (start) => {
  await using upstream = startUpstream();
  await using proxy = await start({ upstreams: [upstream.address], filters: [maxBodySize(10)] });
  // What is beyond the declared length is the next request, and no good one.
  using connection = await proxy.connect();
  await connection.write(
    `POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n${"a".repeat(2000)}\r\n\r\n`,
  );
  assertEquals((await connection.readResponse("POST")).status, 200);
  await connection.untilClosed();
  assertEquals(upstream.seen.map(({ body }) => body), ["aaaaa"]);
  if (!engineCan("content of another length")) return;
  // Both ways of saying it: the runtime refuses, or what counts is the chunks.
  const { status } = await proxy.ask(
    "POST /",
    ["Content-Length: 5", "Transfer-Encoding: chunked"],
    chunked(200),
  );
  assertEquals(status >= 400 && status < 500, true, String(status));
  assertEquals(upstream.requests, 1);
});

Deno.test("maxBodySize() refuses what is no size", () => {
  for (const max of ["10 MB", "ten", -1, NaN]) {
    assertThrows(() => maxBodySize(max), TypeError, "a size such as");
  }
});
