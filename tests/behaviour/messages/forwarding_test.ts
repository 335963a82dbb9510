import { assertEquals } from "@std/assert";
import { SCHEME } from "../../support/engine.ts";
import { eachTransport, type TransportName } from "../../support/each_transport.ts";
import { fileServerTest } from "../../support/file_servers.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { OK, recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";

/** What `fetch` adds by itself where the client has not sent it. */
const ADDED: Record<TransportName, string[]> = {
  http1: [],
  h2: [],
  fetch: ["accept", "accept-encoding", "accept-language", "user-agent"],
};

eachTransport("proxy sends method and raw target as the client wrote them", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  const lines = [
    "GET /",
    "GET /?",
    "GET /a%2Fb/%7e%7E/%41?x=%20+&x=%C3%A9",
    "GET //double//slash/",
    "GET /semi;v=1,2:3@4/$&(5)*!~_-.x",
    "GET /a..b/.hidden/...",
    "GET /?a=/../&b=?&c=//",
    "DELETE /x",
    "PUT /x",
    "PATCH /x",
    "OPTIONS /x",
    "PROPFIND /x",
    "M-SEARCH /x",
  ];
  for (const line of lines) assertEquals((await proxy.ask(line)).status, 200, line);
  assertEquals(upstream.requests.map(({ startLine }) => startLine), lines.map((line) => `${line} HTTP/1.1`));
});

eachTransport("proxy answers 400 instead of sending another target than it was asked for", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  const targets = ["/a/../b", "/a/./b", "/..", "/%2e%2e/x", "/a\\b", "/x?q='1'", "/{}", "/|", '/?"', "/`"];
  for (const target of targets) {
    const { status } = await proxy.ask(`GET ${target}`);
    const sent = upstream.requests.splice(0).map(({ startLine }) => startLine);
    assertEquals(sent, status === 400 ? [] : [`GET ${target} HTTP/1.1`], target);
  }
});

eachTransport("proxy sends the client's fields, its own, and no others", async (start, transport) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  await proxy.ask("GET /", [
    "Host: shop.example:8080",
    "X-One: 1",
    "Authorization: Basic eDp5",
    "Cookie: a=1",
  ]);
  const { fields } = upstream.requests[0]!;
  const sent = fields.map(([name, value]) => `${name.toLowerCase()}: ${value}`)
    .filter((line) => !ADDED[transport].includes(line.split(":")[0]!));
  assertEquals(sent.sort(), [
    "authorization: Basic eDp5",
    "cookie: a=1",
    "host: shop.example:8080",
    "x-forwarded-for: 127.0.0.1",
    "x-forwarded-host: shop.example:8080",
    `x-forwarded-proto: ${SCHEME}`,
    "x-one: 1",
  ]);
});

eachTransport("proxy keeps the client's own accept, accept-language and user-agent", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  await proxy.ask("GET /", [
    "Accept: text/x",
    "Accept-Language: de",
    "User-Agent: me/1",
    "Accept-Encoding: br",
  ]);
  assertEquals(upstream.sent("accept"), ["text/x"]);
  assertEquals(upstream.sent("accept-language"), ["de"]);
  assertEquals(upstream.sent("user-agent"), ["me/1"]);
  assertEquals(upstream.sent("accept-encoding").at(-1), "br");
});

eachTransport("proxy keeps every byte of field values, both ways", async (start) => {
  const odd = '\xe9\xff\x80 a,b;c="d"\te';
  await using upstream = recordingUpstream(`HTTP/1.1 200 OK\r\nX-Down: ${odd}\r\nContent-Length: 0\r\n\r\n`);
  await using proxy = await start({ upstreams: [upstream.address] });
  const answer = await proxy.ask("GET /", [`X-Up: ${odd}`, "X-Empty:"]);
  assertEquals(upstream.sent("x-up"), [odd]);
  assertEquals(upstream.sent("x-empty"), [""]);
  assertEquals(answer.field("x-down"), odd);
});

eachTransport(
  "proxy joins repeated fields of a request in order, and cookies by semicolons",
  async (start) => {
    await using upstream = recordingUpstream();
    await using proxy = await start({ upstreams: [upstream.address] });
    await proxy.ask("GET /", ["X-List: 1", "Cookie: a=1", "X-List: 2", "Cookie: b=2"]);
    assertEquals(upstream.sent("x-list").join(", "), "1, 2");
    assertEquals(upstream.sent("cookie").join("; "), "a=1; b=2");
  },
);

eachTransport("proxy keeps repeated Set-Cookie apart and in order", async (start) => {
  const cookies = ["a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT", "b=2, 3", "a=4"];
  const lines = cookies.map((cookie) => `Set-Cookie: ${cookie}\r\n`).join("");
  await using upstream = recordingUpstream(`HTTP/1.1 200 OK\r\n${lines}Content-Length: 0\r\n\r\n`);
  await using proxy = await start({ upstreams: [upstream.address] });
  const { fields } = await proxy.ask();
  const got = fields.filter(([name]) => name.toLowerCase() === "set-cookie").map(([, value]) => value);
  assertEquals(got, cookies);
});

eachTransport("proxy gives the client's Host to the server unless a filter sets another", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({
    upstreams: [upstream.address],
    upstreamRequestFilter: (request, ctx) => {
      if (ctx.target === "/other") request.headers.set("host", "other.example");
    },
  });
  await proxy.ask("GET /", ["Host: own.example"]);
  assertEquals(upstream.sent("host"), ["own.example"]);
  await proxy.ask("GET /other", ["Host: own.example"]);
  assertEquals(upstream.sent("host"), ["other.example"]);
  assertEquals(upstream.sent("x-forwarded-host"), ["own.example"]);
});

eachTransport("proxy drops what a client claims about other proxies", async (start) => {
  await using upstream = recordingUpstream();
  const listen = { hostname: "127.0.0.1", port: 0, underscores: "pass" } as const;
  await using proxy = await start({ listen, upstreams: [upstream.address] });
  const claims = ["For", "Proto", "Host", "Port", "Ssl", "Client-Cert"].map((name) =>
    `X-Forwarded-${name}: evil`
  );
  await proxy.ask("GET /", [
    "Host: h",
    "Forwarded: for=evil",
    "x-forwarded-FOR: evil2",
    "X_Forwarded_For: evil",
    ...claims,
  ]);
  const text = upstream.requests[0]!.head;
  assertEquals(text.includes("evil"), false, text);
  assertEquals(upstream.sent("x-forwarded-for"), ["127.0.0.1"]);
  assertEquals(upstream.sent("x-forwarded-proto"), [SCHEME]);
  assertEquals(upstream.sent("x-forwarded-host"), ["h"]);
});

eachTransport(
  "proxy leaves Via as it came, and adds itself to its end where that is wanted",
  async (start) => {
    await using upstream = recordingUpstream();
    for (const forwarded of [{}, { via: false }, { via: true }]) {
      await using proxy = await start({ upstreams: [upstream.address], forwarded });
      await proxy.ask("GET /", ["Via: 1.0 first", "Via: 1.1 second"]);
      const before = "1.0 first, 1.1 second";
      assertEquals(upstream.sent("via").join(", "), forwarded.via ? `${before}, 1.1 lbproxy` : before);
      await proxy.ask();
      assertEquals(upstream.sent("via"), forwarded.via ? ["1.1 lbproxy"] : []);
    }
  },
);

fileServerTest(
  "nginx",
  "nginx, which compresses nothing for requests with Via, compresses behind the proxy",
  async (nginx) => {
    for (const via of [false, true]) {
      await using proxy = await startProxy({
        upstreams: [nginx.address],
        ...(via ? { forwarded: { via } } : {}),
      });
      const { status, field } = await proxy.ask("GET /x", ["Accept-Encoding: gzip"]);
      assertEquals([status, field("content-encoding")], [200, via ? undefined : "gzip"]);
    }
  },
);

eachTransport("proxy passes any final status on, and redirects to the client", async (start) => {
  const statuses = [200, 201, 206, 226, 299, 300, 301, 302, 307, 308, 400, 401, 418, 451, 500, 501, 599];
  await using upstream = recordingUpstream(({ startLine }) => {
    const status = startLine.split("/")[1]!.split(" ")[0];
    return `HTTP/1.1 ${status} Any\r\nLocation: http://elsewhere.example/\r\nContent-Length: 2\r\n\r\nok`;
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  for (const status of statuses) {
    const answer = await proxy.ask(`GET /${status}`);
    assertEquals([answer.status, answer.text], [status, "ok"]);
    assertEquals(answer.field("location"), "http://elsewhere.example/");
  }
  assertEquals(upstream.requests.length, statuses.length);
});

eachTransport("proxy keeps the server's own fields, Date and Server among them", async (start) => {
  const lines = [
    "date: Sun, 06 Nov 1994 08:49:37 GMT",
    "server: Apache",
    'etag: W/"1"',
    "content-type: text/x",
  ];
  const extra = ["cache-control: private", "x-a: 1", "vary: Accept", "content-language: de"];
  const all = [...lines, ...extra, "content-length: 2"];
  await using upstream = recordingUpstream(`HTTP/1.1 200 OK\r\n${all.join("\r\n")}\r\n\r\nok`);
  await using proxy = await start({ upstreams: [upstream.address] });
  const { fields } = await proxy.ask();
  assertEquals(fields.map(([name, value]) => `${name.toLowerCase()}: ${value}`).sort(), all.sort());
});

const LOOSE_LENGTHS = {
  "bare LF as line end": "HTTP/1.1 200 OK\nX-Down: 1\nContent-Length: 5\n\n",
  "a length twice": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Down: 1\r\nContent-Length: 5\r\n\r\n",
  "a list of the same length": "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nX-Down: 1\r\n\r\n",
};

for (const [what, head] of Object.entries(LOOSE_LENGTHS)) {
  eachTransport(`proxy frames a response with ${what} anew`, async (start) => {
    await using upstream = rawUpstream(async (connection) => {
      while (await connection.readRequest() !== null) {
        await connection.write(`${head}he`);
        await connection.write("llo");
      }
    });
    await using proxy = await start({ upstreams: [upstream.address] });
    for (const method of ["GET", "HEAD"]) {
      const answer = await proxy.ask(`${method} /`);
      assertEquals([answer.status, answer.text], [200, method === "GET" ? "hello" : ""]);
      const lengths = answer.fields.filter(([name]) => name.toLowerCase() === "content-length");
      assertEquals(lengths.map(([, value]) => value), ["5"]);
      assertEquals(answer.field("x-down"), "1");
      assertEquals(answer.head.replaceAll("\r\n", "").includes("\n"), false);
    }
  });
}

eachTransport("proxy adds no content-type that the server has not sent", async (start) => {
  await using upstream = recordingUpstream(OK);
  await using proxy = await start({ upstreams: [upstream.address] });
  assertEquals((await proxy.ask()).field("content-type"), undefined);
});

eachTransport("proxy gives compressed content as it is, whatever the client accepts", async (start) => {
  const gzip = Uint8Array.from([
    31,
    139,
    8,
    0,
    0,
    0,
    0,
    0,
    0,
    3,
    203,
    72,
    205,
    201,
    201,
    7,
    0,
    134,
    166,
    16,
    54,
    5,
    0,
    0,
    0,
  ]);
  const text = String.fromCharCode(...gzip);
  await using upstream = recordingUpstream(
    `HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ${gzip.length}\r\n\r\n${text}`,
  );
  await using proxy = await start({ upstreams: [upstream.address] });
  for (
    const lines of [[], ["Accept-Encoding: gzip, br"], ["Accept-Encoding: identity"], ["Range: bytes=0-"]]
  ) {
    const answer = await proxy.ask("GET /", lines);
    assertEquals(answer.body, gzip);
    assertEquals(answer.field("content-encoding"), "gzip");
    assertEquals(answer.field("content-length"), String(gzip.length));
  }
});
