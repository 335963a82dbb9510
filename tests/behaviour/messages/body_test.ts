import { assert, assertEquals, assertLess } from "@std/assert";
import { maxBodySize } from "../../../lib/filters/max_body_size.ts";
import { checksum, MOST_UNDER_WAY, patternStream, UnderWay } from "../../support/checksum.ts";
import { engineCan } from "../../support/engine.ts";
import { eachTransport, transportCan, type TransportName } from "../../support/each_transport.ts";
import { fieldOf, latin1Text, parseHead } from "../../support/raw_connection.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const MIB = 1024 * 1024;

eachTransport("proxy carries 64 MiB up unchanged and does not keep them", async (start) => {
  const underWay = new UnderWay();
  let received: { sha256: string; bytes: number } | undefined;
  await using upstream = startUpstream({
    handler: async (request) => {
      received = await checksum(request.body, underWay.received);
      return new Response("got it");
    },
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  const body = patternStream(64 * MIB, underWay.sent);
  const response = await proxy.fetch("/", { method: "POST", body });
  assertEquals(await response.text(), "got it");
  assertEquals(received, await checksum(patternStream(64 * MIB)));
  assertLess(underWay.most, MOST_UNDER_WAY);
});

eachTransport("proxy carries 64 MiB of declared length up unchanged", async (start) => {
  let received: { sha256: string; bytes: number } | undefined;
  await using upstream = startUpstream({
    handler: async (request) => {
      assertEquals(request.headers.get("content-length"), String(64 * MIB));
      received = await checksum(request.body);
      return new Response("got it");
    },
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  await client.write(`PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: ${64 * MIB}\r\n\r\n`);
  for await (const piece of patternStream(64 * MIB)) await client.write(piece);
  assertEquals((await client.readResponse()).status, 200);
  assertEquals(received, await checksum(patternStream(64 * MIB)));
});

eachTransport("proxy carries 64 MiB down unchanged and does not keep them", async (start) => {
  const underWay = new UnderWay();
  await using upstream = startUpstream({
    handler: () => new Response(patternStream(64 * MIB, underWay.sent)),
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  const response = await proxy.fetch("/");
  assertEquals(await checksum(response.body, underWay.received), await checksum(patternStream(64 * MIB)));
  assertLess(underWay.most, MOST_UNDER_WAY);
  const { status, bytesSent } = await proxy.seen.untilEntries(1);
  assertEquals({ status, bytesSent }, { status: 200, bytesSent: 64 * MIB });
});

eachTransport("proxy carries content up and down at the same time", async (start) => {
  await using upstream = startUpstream({ handler: (request) => new Response(request.body) });
  await using proxy = await start({ upstreams: [upstream.address] });
  const response = await proxy.fetch("/", { method: "POST", body: patternStream(8 * MIB) });
  assertEquals(await checksum(response.body), await checksum(patternStream(8 * MIB)));
});

eachTransport("proxy keeps content of every size, declared or chunked", async (start, transport) => {
  await using upstream = startUpstream({
    handler: async (request) => {
      const { sha256, bytes } = await checksum(request.body);
      return Response.json({ sha256, bytes, length: request.headers.get("content-length") });
    },
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  for (const size of [0, 1, 100, 65535, 65536, 65537, 200_000]) {
    const body = await new Response(patternStream(size)).bytes();
    const expected = await checksum(body);
    const declared = await proxy.fetch("/", { method: "POST", body });
    // `fetch` cannot declare an empty content.
    const length = size === 0 && !transportCan(transport, "length of no content") ? null : String(size);
    assertEquals(await declared.json(), { ...expected, length }, `${size} declared`);
    const chunked = await proxy.fetch("/", { method: "PATCH", body: patternStream(size) });
    assertEquals(await chunked.json(), { ...expected, length: null }, `${size} chunked`);
  }
});

eachTransport("proxy sends an empty content as one", async (start, transport) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  assertEquals((await proxy.ask("POST /", ["Content-Length: 0"])).status, 200);
  if (!transportCan(transport, "content without chunks")) {
    assertEquals(upstream.sent("transfer-encoding"), ["chunked"]);
  } else assertEquals(upstream.sent("content-length"), ["0"]);
  assertEquals(upstream.requests[0]!.body.length, 0);
});

eachTransport("proxy sends a body of any method that has one", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]) {
    assertEquals((await proxy.ask(`${method} /`, ["Content-Length: 3"], "abc")).status, 200, method);
    assertEquals(upstream.requests.at(-1)!.body, new TextEncoder().encode("abc"), method);
  }
});

eachTransport("proxy takes a chunked upload piece by piece and gives chunks of its own", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  const body = "3\r\nabc\r\n1;ext=x\r\nd\r\n0\r\nX-Trailer: 1\r\n\r\n";
  assertEquals((await proxy.ask("POST /", ["Transfer-Encoding: chunked"], body)).status, 200);
  assertEquals(upstream.requests[0]!.body, new TextEncoder().encode("abcd"));
  assertEquals(upstream.sent("content-length"), []);
});

eachTransport("proxy says 100 (Continue) to a client that waits for it", async (start, transport) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  await client.write("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  assertEquals((await client.readHead())?.slice(0, 12), "HTTP/1.1 100");
  await client.write("abc");
  assertEquals((await client.readResponse()).status, 200);
  // The server is asked where that can be passed on; one that leaves it open is not waited for long.
  const passedOn = engineCan("1xx of servers") && transportCan(transport, "1xx of servers") &&
    transportCan(transport, "show Expect to servers");
  assertEquals(upstream.sent("expect"), passedOn ? ["100-continue"] : []);
});

eachTransport(
  "proxy refuses a request that expects 100 (Continue) without waiting for its content",
  async (start) => {
    await using upstream = recordingUpstream();
    await using proxy = await start({
      upstreams: [upstream.address],
      limiter: { key: "header:appid", limit: 1, window: "1h" },
      filters: [maxBodySize(1000)],
      requestFilter: (_request, { target }) =>
        target === "/own" ? new Response(null, { status: 401 }) : undefined,
    });
    assertEquals((await proxy.ask("GET /", ["appid: a"])).status, 200);
    const cases: [status: number, target: string, lines: string][] = [
      [401, "/own", "Content-Length: 1000\r\n"],
      [413, "/", "Content-Length: 1001\r\n"],
      [429, "/", "Content-Length: 1000\r\nappid: a\r\n"],
    ];
    for (const [status, target, lines] of cases) {
      using client = await proxy.connect();
      await client.write(`POST ${target} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n${lines}\r\n`);
      let response = await client.readResponse();
      // That it comes at all is the runtime's doing.
      if (response.status === 100) response = await client.readResponse();
      assertEquals(response.status, status);
    }
    assertEquals(upstream.requests.length, 1);
  },
);

eachTransport("proxy keeps the declared length of an answer", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  const answer = await proxy.ask();
  assertEquals([answer.field("content-length"), answer.field("transfer-encoding")], ["2", undefined]);
});

eachTransport("proxy gives an answer that ends with the connection in full", async (start) => {
  await using upstream = startUpstream();
  await using old = recordingUpstream(() => "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nold");
  await using proxy = await start({ upstreams: [upstream.address, old.address] });
  await proxy.ask();
  const asked = proxy.ask();
  await old.untilRequests(1);
  old.closeConnections();
  assertEquals((await asked).text, "old");
});

eachTransport("proxy gives answers to HEAD without content but with its length", async (start) => {
  await using upstream = recordingUpstream('HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: "x"\r\n\r\n');
  await using proxy = await start({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  for (let i = 0; i < 2; i++) {
    await client.write("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    const { status, fields } = await client.readResponse("HEAD");
    assertEquals(status, 200);
    assertEquals(new Headers(fields).get("content-length"), "1234");
  }
  assertEquals((await proxy.seen.untilEntries(2)).bytesSent, 0);
});

eachTransport("proxy makes up no length for answers to HEAD that name none", async (start) => {
  await using upstream = recordingUpstream('HTTP/1.1 200 OK\r\nETag: "x"\r\n\r\n');
  await using proxy = await start({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  for (let i = 0; i < 2; i++) {
    await client.write("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    const { status, fields } = await client.readResponse("HEAD");
    assertEquals([status, new Headers(fields).get("content-length")], [200, null]);
  }
  assertEquals((await proxy.seen.untilEntries(2)).bytesSent, 0);
});

eachTransport(
  "proxy gives statuses that have no content without it, and the connection goes on",
  async (start) => {
    await using upstream = recordingUpstream(({ startLine }) => {
      const status = startLine.split("/")[1]!.split(" ")[0];
      return `HTTP/1.1 ${status} X\r\nETag: "x"\r\n${status === "304" ? "Content-Length: 1234\r\n" : ""}\r\n`;
    });
    await using proxy = await start({ upstreams: [upstream.address] });
    using client = await proxy.connect();
    for (const status of [204, 304, 204]) {
      await client.write(`GET /${status} HTTP/1.1\r\nHost: h\r\n\r\n`);
      const answer = await client.readResponse();
      assertEquals([answer.status, answer.body.length], [status, 0]);
      assertEquals(new Headers(answer.fields).get("etag"), '"x"');
    }
  },
);

eachTransport("proxy ends a 205, whatever its server says of a length", async (start) => {
  const heads = ["Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: 3\r\n"];
  const contents = ["", "0\r\n\r\n", "abc"];
  await using upstream = recordingUpstream((_, index) =>
    `HTTP/1.1 205 Reset Content\r\nX-A: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n${heads[index % 3]}\r\n${
      contents[index % 3]
    }`
  );
  await using proxy = await start({
    upstreams: [upstream.address],
    requestFilter: (_request, { target }) =>
      target === "/own" ? new Response(null, { status: 205, headers: { "x-a": "1" } }) : undefined,
  });
  for (const request of ["GET /", "GET /", "GET /", "POST /", "GET /own"]) {
    using client = await proxy.connect();
    const hasLength = engineCan("length of a 205");
    const close = hasLength ? "Connection: close\r\n" : "";
    await client.write(`${request} HTTP/1.1\r\nHost: h\r\n${close}Content-Length: 0\r\n\r\n`);
    // The runtime leaves the length out, so that it is the connection that ends.
    const text = latin1Text(await client.readToEnd());
    const { startLine, fields } = parseHead(text);
    assertEquals([startLine, text.slice(text.indexOf("\r\n\r\n"))], [
      "HTTP/1.1 205 Reset Content",
      "\r\n\r\n",
    ]);
    assertEquals([fieldOf(fields, "x-a"), fieldOf(fields, "connection")], ["1", "close"]);
    assertEquals(fieldOf(fields, "content-length"), hasLength ? "0" : undefined);
    const cookies = fields.filter(([name]) => name.toLowerCase() === "set-cookie").length;
    assertEquals(cookies, request === "GET /own" ? 0 : 2);
  }
  assertEquals((await proxy.ask("HEAD /")).status, 205);
  await proxy.seen.untilEntries(6);
  assertEquals(proxy.seen.entries.map(({ status, error }) => [status, error]), Array(6).fill([205, null]));
});

eachTransport("proxy passes interim responses of the server on where it can", async (start, transport) => {
  const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  await using upstream = recordingUpstream(
    `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n${ok}`,
  );
  await using proxy = await start({ upstreams: [upstream.address] });
  const passedOn = engineCan("1xx of servers") && transportCan(transport, "1xx of servers");
  using client = await proxy.connect();
  for (let i = 0; i < 2; i++) {
    await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    if (passedOn) {
      const { startLine, fields } = parseHead((await client.readHead())!);
      assertEquals([startLine, fieldOf(fields, "link")], ["HTTP/1.1 103 Early Hints", "</x>"]);
    }
    assertEquals(latin1Text((await client.readResponse()).body), "ok");
  }
});

/** The names of fields as they reach a client. */
function namesBy(transport: TransportName, lines: string): string {
  if (transportCan(transport, "leave names of fields as they are")) return lines;
  return lines.replace(/^[\w-]+:/gm, (name) => name.toLowerCase());
}

eachTransport("proxy passes every one of several interim responses on", async (start, transport) => {
  const hints = ["/a", "/b", "/c"].map((link) => `HTTP/1.1 103 Early Hints\r\nLink: <${link}>\r\n\r\n`);
  await using upstream = recordingUpstream(
    `${hints.join("")}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok`,
  );
  await using proxy = await start({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  await client.write("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const received = latin1Text(await client.readToEnd());
  const final = received.indexOf("HTTP/1.1 200 OK");
  const passedOn = engineCan("1xx of servers") && transportCan(transport, "1xx of servers");
  assertEquals(received.slice(0, final), passedOn ? namesBy(transport, hints.join("")) : "");
  assert(received.endsWith("\r\n\r\nok"));
});

eachTransport(
  "proxy keeps fields of the server's connection out of interim responses",
  async (start, transport) => {
    await using upstream = recordingUpstream(
      "HTTP/1.1 103 Early Hints\r\nConnection: close, X-Hop\r\nKeep-Alive: timeout=1\r\nX-Hop: 1\r\nUpgrade: a\r\n" +
        "Link: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    await using proxy = await start({ upstreams: [upstream.address] });
    using client = await proxy.connect();
    await client.write("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    const received = latin1Text(await client.readToEnd());
    const passedOn = engineCan("1xx of servers") && transportCan(transport, "1xx of servers");
    assertEquals(
      received.slice(0, received.indexOf("HTTP/1.1 200 OK")),
      passedOn ? namesBy(transport, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") : "",
    );
  },
);

eachTransport("proxy gives each of many clients the answer to its own request", async (start) => {
  await using upstream = startUpstream({
    handler: (request) => {
      const number = Number(new URL(request.url).pathname.slice(1));
      return new Response(`${number} `.repeat(1 + number % 2000));
    },
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  for (let round = 0; round < 10; round++) {
    const numbers = Array.from({ length: 64 }, (_, i) => round * 64 + i);
    const answers = await Promise.all(
      numbers.map(async (number) => await (await proxy.fetch(`/${number}`)).text()),
    );
    assertEquals(answers, numbers.map((number) => `${number} `.repeat(1 + number % 2000)));
  }
});
