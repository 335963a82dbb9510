import { assertEquals } from "@std/assert";
import { engineCan, SCHEME } from "../../support/engine.ts";
import { eachTransport, transportCan } from "../../support/each_transport.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";

eachTransport("proxy keeps a request's hop-by-hop fields to itself", async (start, transport) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  const lines = [
    "Connection: keep-alive",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic eDp5",
    "Proxy-Authenticate: Basic",
    "TE: trailers",
    "Trailer: X-Sum",
    "Upgrade: h2c",
    "X-Stays: 1",
  ];
  assertEquals((await proxy.ask("GET /", lines)).status, 200);
  const names = upstream.requests[0]!.fields.map(([name]) => name.toLowerCase());
  for (const line of lines) {
    const name = line.split(":")[0]!.toLowerCase();
    if (name === "connection" || (name === "te" && !transportCan(transport, "leave TE to clients"))) continue;
    assertEquals(names.includes(name), name === "x-stays", name);
  }
  // A transport may say of its own connection what it likes, but not what the client's said.
  for (const value of upstream.sent("connection")) {
    assertEquals(/^(keep-alive|close)$/i.test(value), true, value);
  }
});

eachTransport(
  "proxy strips the fields that Connection names, in any case and from any line",
  async (start) => {
    await using upstream = recordingUpstream();
    await using proxy = await start({ upstreams: [upstream.address] });
    await proxy.ask("GET /", [
      "Connection: X-One, keep-alive , x-TWO,,",
      "Connection: x-three",
      "X-One: 1",
      "X-Two: 2",
      "X-Three: 3",
      "X-Four: 4",
    ]);
    assertEquals(["x-one", "x-two", "x-three", "x-four"].map((name) => upstream.sent(name)), [[], [], [], [
      "4",
    ]]);
  },
  { ignore: !engineCan("fields that Connection names") },
);

eachTransport("proxy keeps Host and Content-Length although Connection names them", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  const lines = [
    "Host: h.example",
    "Connection: host, content-length, transfer-encoding",
    "Content-Length: 3",
  ];
  assertEquals((await proxy.ask("POST /", lines, "abc")).status, 200);
  assertEquals(upstream.sent("host"), ["h.example"]);
  assertEquals(upstream.sent("content-length"), ["3"]);
  assertEquals(upstream.requests[0]!.body.length, 3);
});

eachTransport("proxy adds its own fields although Connection names them", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address], forwarded: { via: true } });
  const named = "x-forwarded-for, x-forwarded-proto, x-forwarded-host, via, cdn-loop";
  await proxy.ask("GET /", [`Connection: ${named}`, "Via: 1.1 before"]);
  assertEquals(upstream.sent("x-forwarded-for"), ["127.0.0.1"]);
  assertEquals(upstream.sent("x-forwarded-proto"), [SCHEME]);
  assertEquals(upstream.sent("x-forwarded-host"), ["h"]);
  assertEquals(upstream.sent("via"), ["1.1 lbproxy"]);
  assertEquals(upstream.sent("cdn-loop").length, 1);
}, { ignore: !engineCan("fields that Connection names") });

eachTransport("proxy keeps a response's hop-by-hop fields to itself", async (start) => {
  const fields = [
    "Connection: X-Named, keep-alive",
    "Connection: x-other",
    "Keep-Alive: timeout=5",
    "Proxy-Authenticate: Basic",
    "Proxy-Connection: keep-alive",
    "Upgrade: h2c",
    "Trailer: X-Sum",
    "X-Named: 1",
    "X-Other: 2",
    "X-Stays: 3",
    "Content-Length: 2",
  ];
  await using upstream = recordingUpstream(`HTTP/1.1 200 OK\r\n${fields.join("\r\n")}\r\n\r\nok`);
  await using proxy = await start({ upstreams: [upstream.address] });
  const answer = await proxy.ask();
  const names = answer.fields.map(([name]) => name.toLowerCase()).filter((name) => name !== "date");
  assertEquals(names.sort(), ["content-length", "x-stays"]);
  assertEquals(answer.text, "ok");
});

eachTransport(
  "proxy takes the framing of a chunked response off and keeps its content",
  async (start, transport) => {
    await using upstream = recordingUpstream(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    await using proxy = await start({ upstreams: [upstream.address] });
    const answer = await proxy.ask();
    assertEquals([answer.status, answer.text], [200, "abcde"]);
    const framing = answer.fields.filter(([name]) => /^(transfer-encoding|content-length)$/i.test(name));
    // Short content that came at once is known as a whole, and goes on with its length; trailers need chunks.
    const whole = transportCan(transport, "trailers") && !engineCan("trailers");
    const expected = whole ? ["content-length", "5"] : ["transfer-encoding", "chunked"];
    assertEquals(
      framing.map(([name, value]) => [name.toLowerCase(), value]),
      engineCan("chunks") ? [expected] : [],
    );
    assertEquals([answer.field("trailer"), answer.field("x-sum")], [undefined, undefined]);
  },
);
