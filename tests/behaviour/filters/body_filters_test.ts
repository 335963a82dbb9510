import { assertEquals, assertLess, assertRejects } from "@std/assert";
import { checksum, MOST_UNDER_WAY, patternStream, UnderWay } from "../../support/checksum.ts";
import { engineCan } from "../../support/engine.ts";
import { deadPort } from "../../support/dead_port.ts";
import { eachTransport, transportCan } from "../../support/each_transport.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startUpstream } from "../../support/start_upstream.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Body = ReadableStream<Bytes>;

/** Changes text piece by piece. */
function mapped(body: Body, change: (text: string) => string): Body {
  const decoder = new TextDecoder("latin1");
  const encoder = new TextEncoder();
  return body.pipeThrough(
    new TransformStream<Bytes, Bytes>({
      transform: (piece, controller) => controller.enqueue(encoder.encode(change(decoder.decode(piece)))),
    }),
  );
}

const answer = (length: number, more = "") =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n${more}\r\n${"a".repeat(length)}`;

for (const length of [3, 300_000]) {
  eachTransport(`responseBodyFilter changes ${length} bytes, and the length goes`, async (start) => {
    await using upstream = recordingUpstream(
      answer(length, 'ETag: "x"\r\nContent-MD5: a\r\nAccept-Ranges: bytes\r\nX-Kept: 1\r\n'),
    );
    await using proxy = await start({
      upstreams: [upstream.address],
      responseBodyFilter: (body) => mapped(body, (text) => text.replaceAll("a", "bc")),
    });
    const got = await proxy.ask();
    assertEquals([got.status, got.text === "bc".repeat(length)], [200, true]);
    const names = ["content-length", "transfer-encoding", "content-md5", "accept-ranges", "etag", "x-kept"];
    assertEquals(names.map((name) => got.field(name)), [
      undefined,
      engineCan("chunks") ? "chunked" : undefined,
      undefined,
      undefined,
      'W/"x"',
      "1",
    ]);
    const entry = await proxy.seen.untilEntries(1);
    assertEquals([entry.bytesSent, entry.error], [2 * length, null]);
  });
}

eachTransport(
  "responseBodyFilter may declare the length, look at the head, and leave content alone",
  async (start) => {
    await using upstream = recordingUpstream(answer(3, "X-Kind: a\r\n"));
    await using proxy = await start({
      upstreams: [upstream.address],
      responseBodyFilter: async (body, ctx, response) => {
        if (ctx.target === "/as-it-is") return;
        const text = await new Response(body).text() + response.headers.get("x-kind");
        response.headers.delete("x-kind");
        return { body: new Blob([text]).stream(), length: text.length };
      },
    });
    const changed = await proxy.ask("GET /");
    assertEquals([changed.text, changed.field("content-length"), changed.field("x-kind")], [
      "aaaa",
      "4",
      undefined,
    ]);
    const same = await proxy.ask("GET /as-it-is");
    assertEquals([same.text, same.field("content-length"), same.field("x-kind")], ["aaa", "3", "a"]);
  },
);

eachTransport("responseBodyFilter does not see answers without content", async (start) => {
  await using upstream = recordingUpstream(({ startLine }) =>
    startLine.startsWith("HEAD")
      ? "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
      : 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n'
  );
  let ran = 0;
  await using proxy = await start({
    upstreams: [upstream.address],
    responseBodyFilter: (body) => {
      ran++;
      return body;
    },
  });
  const head = await proxy.ask("HEAD /");
  // Neither the server's 3 nor the runtime's 0 is the length that GET would give (RFC 9110 section 8.6).
  assertEquals([head.status, head.field("content-length")], [200, undefined]);
  assertEquals((await proxy.ask("GET /")).status, 304);
  assertEquals(ran, 0);
});

eachTransport("responseBodyFilter of several sets: the innermost first", async (start) => {
  await using upstream = recordingUpstream(answer(1));
  const adding = (name: string) => ({
    responseBodyFilter: (body: Body) => mapped(body, (text) => text + name),
  });
  await using proxy = await start({
    upstreams: [upstream.address],
    ...adding("1"),
    filters: [adding("2"), adding("3")],
  });
  assertEquals((await proxy.ask()).text, "a321");
});

for (
  const [what, filter, message] of [
    ["throws", () => {
      throw new Error("secret");
    }, "responseBodyFilter threw: secret"],
    ["locks the content and throws", (body: Body) => {
      body.getReader();
      throw new Error("secret");
    }, "responseBodyFilter threw: secret"],
    ["rejects", () => Promise.reject(new Error("secret")), "responseBodyFilter threw: secret"],
    [
      "returns text",
      () => "text",
      "responseBodyFilter threw: it must return a ReadableStream, { body, length } or nothing",
    ],
  ] as [string, (body: Body) => Body, string][]
) {
  eachTransport(`responseBodyFilter that ${what} gives a 500 without details`, async (start) => {
    await using upstream = recordingUpstream(answer(300_000));
    const logged: unknown[] = [];
    await using proxy = await start({
      upstreams: [upstream.address],
      responseBodyFilter: filter,
      logging: (_ctx, error) => void logged.push(error?.code),
    });
    const got = await proxy.ask();
    assertEquals([got.status, got.text.includes("secret"), got.text.includes("Filter")], [500, false, false]);
    await proxy.seen.untilEntries(1);
    assertEquals(logged, ["proxy_internal_error"]);
    const [failure] = proxy.seen.eventsOf("request_failure");
    assertEquals(failure?.message, message);
    assertEquals(typeof failure?.stack, "string");
  });
}

eachTransport(
  "responseBodyFilter whose stream fails, or is not as long as declared, cuts the answer off",
  async (start) => {
    await using upstream = recordingUpstream(answer(300_000));
    await using proxy = await start({
      upstreams: [upstream.address],
      responseBodyFilter: (body, ctx) => {
        if (ctx.target === "/short") return { body: mapped(body, (text) => text.slice(1)), length: 300_000 };
        if (ctx.target === "/long") return { body: mapped(body, (text) => text + "b"), length: 300_000 };
        return mapped(body, () => {
          throw new Error("midway");
        });
      },
    });
    for (const target of ["/short", "/long", "/fails"]) {
      const outcome = await proxy.ask(`GET ${target}`).then(
        ({ status, text }) => `${status} ${text.length}`,
        () => "cut",
      );
      assertEquals(outcome, "cut", target);
    }
    await proxy.seen.untilEntries(3);
    assertEquals(proxy.seen.entries.map(({ error }) => error), Array(3).fill("proxy_internal_error"));
  },
);

eachTransport("responseBodyFilter cannot make a clean end of an answer that broke off", async (start) => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n${"a".repeat(200_000)}`);
  });
  await using proxy = await start({
    upstreams: [upstream.address],
    responseBodyFilter: (body) => {
      const reader = body.getReader();
      return new ReadableStream<Bytes>({
        async pull(controller): Promise<void> {
          const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }));
          if (done) controller.close();
          else controller.enqueue(value!);
        },
      });
    },
  });
  assertEquals(await proxy.ask().then(() => "whole", () => "cut"), "cut");
  assertEquals((await proxy.seen.untilEntries(1)).error, "http_response_incomplete");
});

eachTransport(
  "responseBodyFilter may end early, which ends the exchange at the server too",
  async (start) => {
    await using upstream = rawUpstream(async (connection) => {
      await connection.readRequest();
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + "a".repeat(100_000));
      await connection.untilClosed();
    });
    await using proxy = await start({
      upstreams: [upstream.address],
      // It keeps the reader and never cancels it.
      responseBodyFilter: (body) => {
        const reader = body.getReader();
        return new ReadableStream<Bytes>({
          async pull(controller): Promise<void> {
            const { value } = await reader.read();
            controller.enqueue(value!.slice(0, 5));
            controller.close();
          },
        });
      },
    });
    const got = await proxy.ask();
    assertEquals([got.status, got.text], [200, "aaaaa"]);
    assertEquals((await proxy.seen.untilEntries(1)).error, null);
  },
);

eachTransport(
  "responseBodyFilter: a client that goes away ends the exchange at the server",
  async (start) => {
    const closed = Promise.withResolvers<void>();
    await using upstream = rawUpstream(async (connection) => {
      await connection.readRequest();
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n" + "a".repeat(100_000));
      await connection.untilClosed();
      closed.resolve();
    });
    await using proxy = await start({
      upstreams: [upstream.address],
      responseBodyFilter: (body) => mapped(body, (text) => text),
    });
    {
      using client = await proxy.connect();
      await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      await client.readUntil("\r\n\r\n");
    }
    await closed.promise;
    assertEquals((await proxy.seen.untilEntries(1)).status, 499);
  },
);

for (const length of [3, 100_000]) {
  eachTransport(`requestBodyFilter changes ${length} bytes for every attempt`, async (start) => {
    await using upstream = recordingUpstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let ran = 0;
    await using proxy = await start({
      upstreams: [`127.0.0.1:${deadPort()}`, upstream.address],
      requestBodyFilter: (body) => {
        ran++;
        return mapped(body, (text) => text.toUpperCase());
      },
    });
    for (let n = 0; n < 2; n++) {
      const got = await proxy.ask("PUT /", [`Content-Length: ${length}`], "a".repeat(length));
      assertEquals(got.status, 200);
    }
    assertEquals(ran, 2);
    for (const { body } of upstream.requests) {
      assertEquals(new TextDecoder().decode(body) === "A".repeat(length), true);
    }
    assertEquals([upstream.sent("content-length"), upstream.sent("transfer-encoding")], [[], ["chunked"]]);
  });
}

eachTransport(
  "requestBodyFilter may declare the length, leave content alone, and sees none where there is none",
  async (start) => {
    await using upstream = startUpstream();
    const saw: string[] = [];
    await using proxy = await start({
      upstreams: [upstream.address],
      filters: [{
        requestBodyFilter: (body, ctx) => {
          saw.push(ctx.target);
          return ctx.target === "/sized"
            ? { body: mapped(body, (text) => text + text), length: 6 }
            : undefined;
        },
      }],
    });
    await proxy.ask("POST /sized", ["Content-Length: 3"], "abc");
    await proxy.ask("POST /same", ["Content-Length: 3"], "abc");
    await proxy.ask("POST /empty", ["Content-Length: 0"]);
    await proxy.ask("GET /none");
    assertEquals(saw, ["/sized", "/same"]);
    const [sized, same] = upstream.seen;
    assertEquals([sized?.body, sized?.headers.get("content-length")], ["abcabc", "6"]);
    assertEquals([
      same?.body,
      same?.headers.get("transfer-encoding") === "chunked" ? null : same?.headers.get("content-length"),
    ], [
      "abc",
      "3",
    ]);
  },
);

eachTransport(
  "requestBodyFilter that fails, at once or midway, gives a 500 without details",
  async (start) => {
    await using upstream = startUpstream();
    await using proxy = await start({
      upstreams: [upstream.address],
      requestBodyFilter: (body, ctx) => {
        if (ctx.target === "/throws") throw new Error("secret");
        if (ctx.target === "/rejects") return Promise.reject(new Error("secret"));
        return mapped(body, () => {
          throw new Error("secret");
        });
      },
    });
    for (const target of ["/throws", "/rejects", "/midway"]) {
      const got = await proxy.ask(`POST ${target}`, ["Content-Length: 100000"], "a".repeat(100_000));
      assertEquals([got.status, got.text.includes("secret")], [500, false], target);
    }
    await proxy.seen.untilEntries(3);
    assertEquals(
      proxy.seen.eventsOf("request_failure").map(({ message }) => message),
      Array(3).fill("requestBodyFilter threw: secret"),
    );
  },
);

eachTransport("body filters of 64 MiB each way keep nothing of them", async (start) => {
  const BYTES = 64 * 1024 * 1024;
  const [up, down] = [new UnderWay(), new UnderWay()];
  await using upstream = startUpstream({
    handler: async (request) => {
      const { bytes } = await checksum(request.body, up.received);
      return new Response(patternStream(BYTES, down.sent), { headers: { "x-taken": String(bytes) } });
    },
  });
  const passing = (body: Body): Body => body.pipeThrough(new TransformStream<Bytes, Bytes>());
  await using proxy = await start({
    upstreams: [upstream.address],
    requestBodyFilter: passing,
    responseBodyFilter: passing,
  });
  const response = await proxy.fetch("/", { method: "POST", body: patternStream(BYTES, up.sent) });
  const { bytes } = await checksum(response.body, down.received);
  assertEquals([bytes, response.headers.get("x-taken")], [BYTES, String(BYTES)]);
  assertLess(up.most, MOST_UNDER_WAY);
  assertLess(down.most, MOST_UNDER_WAY);
});

for (
  const [what, length, chunked] of [
    ["content", 200_000, false],
    ["short content", 2000, false],
    ["chunks", 200_000, true],
  ] as const
) {
  eachTransport(
    `responseBodyFilter: what breaks off while its client still sends ${what} is cut off`,
    async (start, transport) => {
      if (!transportCan(transport, "give a head before its end")) return;
      await using upstream = rawUpstream(async (connection) => {
        await connection.readHead();
        await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
      });
      await using proxy = await start({
        upstreams: { servers: [upstream.address], retries: false },
        responseBodyFilter: (body) => body.pipeThrough(new TransformStream()),
      });
      using client = await proxy.connect();
      await client.write(
        `POST / HTTP/1.1\r\nHost: h\r\n${
          chunked ? "Transfer-Encoding: chunked" : `Content-Length: ${length}`
        }\r\n\r\n`,
      );
      const response = client.readResponse("POST");
      response.catch(() => {});
      await proxy.seen.untilEntries(1);
      const content = "x".repeat(length);
      // The proxy may have cut the connection by now.
      await client.write(chunked ? `${length.toString(16)}\r\n${content}\r\n0\r\n\r\n` : content)
        .catch(() => {});
      await assertRejects(() => response);
    },
  );
}
