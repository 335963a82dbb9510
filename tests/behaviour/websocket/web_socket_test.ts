import { assertEquals } from "@std/assert";
import { eachTransport } from "../../support/each_transport.ts";
import { engineCan, OVER_TLS } from "../../support/engine.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { readAnswer, startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";
import {
  acceptOf,
  acceptSwitch,
  type Ending,
  openWebSocket,
  switching,
  upgradeHead,
  webSocketUpstream,
} from "../../support/test_web_socket.ts";
import { trustingClient } from "../../support/tls_client.ts";

eachTransport("proxy forwards a WebSocket, texts and binaries both ways", async (start) => {
  await using server = webSocketUpstream();
  await using proxy = await start({ upstreams: [server.address] });
  const client = await openWebSocket(`ws://${proxy.address}/chat%2F?room=1`);
  const messages = [
    "",
    "hello",
    "grüße 🎉",
    new Uint8Array(0),
    Uint8Array.of(0, 255, 128),
    "x".repeat(200_000),
  ];
  for (const message of messages) {
    client.socket.send(message as string);
    assertEquals(await client.next(), message);
  }
  assertEquals(await client.close(1000, "done"), [1000, "done"]);
  const { target, headers } = server.upstream.seen[0]!;
  assertEquals(target, "/chat%2F?room=1");
  assertEquals(headers.get("x-forwarded-for"), "127.0.0.1");
  assertEquals(headers.get("host"), OVER_TLS ? `localhost:${proxy.port}` : proxy.address);
  const entry = await proxy.seen.untilEntries(1);
  assertEquals([entry.status, entry.error, entry.bytesSent], [101, null, 5 + 12 + 3 + 200_000]);
});

eachTransport(
  "proxy has the server choose the subprotocol, and gives its fields to the client",
  async (start) => {
    await using server = webSocketUpstream({ headers: { "set-cookie": "a=b", "x-mine": "1" } });
    await using proxy = await start({
      upstreams: [server.address],
      upstreamRequestFilter: (request) => request.headers.set("x-added", "yes"),
      responseFilter: (response) => response.headers.set("x-filtered", "yes"),
      responseBodyFilter: () => {
        throw new Error("there is no content");
      },
    });
    const client = await openWebSocket(`ws://${proxy.address}/`, ["chat.v1", "chat.v2"]);
    assertEquals(client.socket.protocol, "chat.v2");
    await client.close();
    assertEquals(server.upstream.seen[0]!.headers.get("x-added"), "yes");
    using raw = await proxy.connect();
    await raw.write(
      upgradeHead(["Sec-WebSocket-Extensions: permessage-deflate"]),
    );
    const head = await raw.readHead();
    const lines = head!.toLowerCase().split("\r\n");
    for (const line of ["set-cookie: a=b", "x-mine: 1", "x-filtered: yes", "upgrade: websocket"]) {
      assertEquals([line, lines.includes(line)], [line, true]);
    }
    assertEquals(lines.filter((line) => line.startsWith("sec-websocket-accept")), [
      "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
    ]);
    assertEquals(
      server.upstream.seen[1]!.headers.get("sec-websocket-extensions"),
      engineCan("WebSocket frames as they came") ? "permessage-deflate" : null,
    );
  },
);

Deno.test("proxy forwards messages of 16 MiB both ways, and closes with 1009 for longer ones", async () => {
  await using server = webSocketUpstream();
  await using proxy = await startProxy({ upstreams: [server.address] });
  const client = await openWebSocket(`ws://${proxy.address}/`);
  const big = new Uint8Array(16 * 1024 * 1024);
  for (let i = 0; i < big.length; i += 4093) big[i] = i & 0xff;
  client.socket.send(big);
  assertEquals(sameBytes(await client.next() as Uint8Array, big), true);
  client.socket.send(new Uint8Array(big.length + 1));
  assertEquals((await client.closed)[0], 1009);
  assertEquals((await server.sockets[0]!.closed)[0], 1001);
});

Deno.test("proxy closes with 1009 when a server's message is longer than maxMessageSize", async () => {
  await using server = webSocketUpstream({ echo: false });
  await using proxy = await startProxy({
    upstreams: { servers: [server.address], webSocket: { maxMessageSize: "1KiB" } },
  });
  const opened = server.next();
  const client = await openWebSocket(`ws://${proxy.address}/`);
  const socket = await opened;
  socket.socket.send("x".repeat(1024));
  assertEquals((await client.next()).length, 1024);
  socket.socket.send("x".repeat(1025));
  assertEquals(await client.closed, [1011, "the server broke off"]);
  assertEquals((await socket.closed)[0], 1009);
  assertEquals((await proxy.seen.untilEntries(1)).error, "connection_terminated");
});

Deno.test("proxy carries codes and reasons of closing both ways", async () => {
  await using server = webSocketUpstream();
  await using proxy = await startProxy({ upstreams: [server.address] });
  const endings: Ending[] = [[1000, ""], [1000, "bye"], [3000, "grüße"], [4999, "x".repeat(123)]];
  for (const ending of endings) {
    const opened = server.next();
    const client = await openWebSocket(`ws://${proxy.address}/`);
    const socket = await opened;
    assertEquals(await client.close(...ending), ending);
    assertEquals(await socket.closed, ending);
  }
  for (const ending of [...endings, [1001, "later"], [1011, "oops"], [1008, ""]] as Ending[]) {
    const opened = server.next();
    const client = await openWebSocket(`ws://${proxy.address}/`);
    const socket = await opened;
    socket.socket.close(...ending);
    assertEquals(await client.closed, ending);
    assertEquals(await socket.closed, ending);
  }
});

Deno.test("proxy carries a closing without a code both ways", async () => {
  await using server = webSocketUpstream();
  await using proxy = await startProxy({ upstreams: [server.address] });
  const opened = server.next();
  const client = await openWebSocket(`ws://${proxy.address}/`);
  const socket = await opened;
  client.socket.close();
  assertEquals([await client.closed, await socket.closed], [[1005, ""], [1005, ""]]);
  const again = server.next();
  const second = await openWebSocket(`ws://${proxy.address}/`);
  (await again).socket.close();
  assertEquals(await second.closed, [1005, ""]);
});

Deno.test("proxy cuts the server off when its client has gone without a word", async () => {
  const lost = Promise.withResolvers<void>();
  await using server = rawUpstream(async (connection) => {
    await acceptSwitch(connection);
    await connection.untilClosed();
    lost.resolve();
  });
  await using proxy = await startProxy({ upstreams: [server.address] });
  {
    using client = await proxy.connect();
    await client.write(upgradeHead());
    assertEquals((await client.readHead())?.startsWith("HTTP/1.1 101"), true);
    assertEquals(proxy.servers[0]!.inFlight, 1);
  }
  await lost.promise;
  await proxy.seen.untilEntries(1);
  assertEquals(proxy.servers[0]!.inFlight, 0);
});

Deno.test("proxy closes with 1011 when the server has gone without a word, and says so in the log", async () => {
  await using server = rawUpstream(async (connection) => {
    const request = await connection.readRequest();
    // The first message comes in one piece with the head.
    await connection.write(`${switching(await acceptOf(request!))}\x81\x02hi`);
  });
  await using proxy = await startProxy({ upstreams: [server.address] });
  const client = await openWebSocket(`ws://${proxy.address}/`);
  assertEquals(await client.next(), "hi");
  assertEquals(await client.closed, [1011, "the server broke off"]);
  assertEquals((await proxy.seen.untilEntries(1)).error, "connection_terminated");
});

Deno.test("proxy passes pings and pieces of messages as they come", async () => {
  const pong = Promise.withResolvers<Uint8Array>();
  await using server = rawUpstream(async (connection) => {
    await acceptSwitch(connection);
    await connection.write("\x89\x02pp\x01\x02ab\x89\x00\x80\x02cd");
    pong.resolve(await connection.readExactly(8));
    await connection.untilClosed();
  });
  const listen = { hostname: "127.0.0.1", port: 0, engine: "http1" } as const;
  await using proxy = await startProxy({ listen, upstreams: [server.address] });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  await client.readHead();
  assertEquals(await client.readExactly(14), bytes("\x89\x02pp\x01\x02ab\x89\x00\x80\x02cd"));
  await client.write("\x8a\x82\0\0\0\0pp");
  assertEquals(await pong.promise, bytes("\x8a\x82\0\0\0\0pp"));
});

Deno.test("proxy passes pongs that are no responses to its own pings, whatever is in them", async () => {
  const pongs = Promise.withResolvers<Uint8Array>();
  await using server = rawUpstream(async (connection) => {
    await acceptSwitch(connection);
    pongs.resolve(await connection.readExactly(14 + 6));
    await connection.untilClosed();
  });
  const listen = { hostname: "127.0.0.1", port: 0, engine: "http1" } as const;
  await using proxy = await startProxy({ listen, upstreams: [server.address] });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  await client.readHead();
  // As long as those of the proxy.
  const sent = bytes("\x8a\x88\x00\x00\x00\x00" + "12345678" + "\x8a\x80\x00\x00\x00\x00");
  await client.write(sent);
  assertEquals(await pongs.promise, sent);
});

Deno.test("proxy answers pings of both sides, and puts messages together, on the runtime's server", async () => {
  const pong = Promise.withResolvers<Uint8Array>();
  await using server = rawUpstream(async (connection) => {
    await acceptSwitch(connection);
    await connection.write("\x89\x02pp\x01\x02ab\x89\x00\x80\x02cd");
    pong.resolve(await connection.readExactly(8));
    await connection.untilClosed();
  });
  const listen = { hostname: "127.0.0.1", port: 0, engine: "deno" } as const;
  await using proxy = await startProxy({ listen, upstreams: [server.address] });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  await client.readHead();
  assertEquals(await client.readExactly(6), bytes("\x81\x04abcd"));
  const frame = await pong.promise;
  assertEquals([frame[0], frame[1]], [0x8a, 0x82]);
  assertEquals([frame[6]! ^ frame[2]!, frame[7]! ^ frame[3]!], [0x70, 0x70]);
  await client.write("\x89\x82\0\0\0\0qq");
  assertEquals(await client.readExactly(4), bytes("\x8a\x02qq"));
});

eachTransport("proxy gives a client the server's refusal of a WebSocket", async (start) => {
  await using server = startUpstream({
    handler: () => new Response("no entry", { status: 403, headers: { "x-why": "mood" } }),
  });
  await using proxy = await start({ upstreams: [server.address] });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  const answer = await readAnswer(client);
  assertEquals([answer.status, answer.text, answer.field("x-why")], [403, "no entry", "mood"]);
});

eachTransport(
  "proxy serves requests that offer other protocols than WebSocket by HTTP/1.1",
  async (start) => {
    await using upstream = recordingUpstream();
    await using proxy = await start({ upstreams: [upstream.address] });
    // What the HttpClient of Java sends by default; with a Content-Length, even 0, the runtime itself answers 400.
    const offer = ["Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"];
    const named = "Connection: Upgrade, HTTP2-Settings";
    const cases: [string, string[]][] = [
      ["GET /", [named, ...offer]],
      ["GET /", ["Connection: upgrade", "Upgrade: H2C", offer[1]!]],
      ["DELETE /", [named, ...offer]],
      ["GET /", ["Connection: Upgrade", "Upgrade: TLS/1.0"]],
      ["GET /", ["Connection: Upgrade", "Upgrade: h2c, IRC/6.9"]],
      ["OPTIONS /", ["Connection: Upgrade", "Upgrade: websockets"]],
      ["GET /", ["Upgrade: websocket"]],
    ];
    for (const [request, lines] of cases) {
      const answer = await proxy.ask(request, lines);
      assertEquals([answer.status, answer.text], [200, "ok"]);
      const other = /IRC\/6\.9|websockets/.exec(lines.join())?.[0];
      const offered = other !== undefined && engineCan("other upgrades") && engineCan("upgrades");
      assertEquals(upstream.sent("upgrade"), offered ? [other] : []);
      assertEquals(upstream.sent("http2-settings"), []);
      assertEquals(upstream.sent("connection").some((value) => /upgrade/i.test(value)), offered);
      assertEquals(upstream.sent("connection").some((value) => /settings/i.test(value)), false);
    }
  },
);

Deno.test("proxy refuses bad handshakes of clients", {
  ignore: !engineCan("upgrades"),
}, async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  const good = ["Connection: keep-alive, Upgrade", "Upgrade: WebSocket"];
  const version = "Sec-WebSocket-Version: 13";
  const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
  const cases: [string, string[], number][] = [
    ["GET /", [...good, key], 426],
    ["GET /", [...good, key, "Sec-WebSocket-Version: 8"], 426],
    ["GET /", [...good, version], 400],
    ["GET /", [...good, version, "Sec-WebSocket-Key: short"], 400],
    ["POST /", [...good, version, key, "Content-Length: 0"], 400],
  ];
  for (const [request, lines, status] of cases) {
    const answer = await proxy.ask(request, lines);
    assertEquals([lines, answer.status], [lines, status]);
    if (status === 426) assertEquals(answer.field("sec-websocket-version"), "13");
  }
  assertEquals(upstream.requests, 0);
});

Deno.test("proxy refuses a handshake with content, which would come between the frames", {
  ignore: !engineCan("upgrades"),
}, async () => {
  await using server = rawUpstream(async (connection) => {
    const head = await connection.readHead();
    const key = /^sec-websocket-key: *(\S+)/im.exec(head!)![1]!;
    await connection.write(switching(await acceptOf({ fields: [["sec-websocket-key", key]] })));
    await connection.untilClosed();
  });
  await using proxy = await startProxy({ upstreams: [server.address] });
  for (const framing of ["Content-Length: 9", "Transfer-Encoding: chunked"]) {
    using client = await proxy.connect();
    await client.write(upgradeHead([framing]));
    assertEquals((await readAnswer(client)).status, 400);
  }
  assertEquals(server.opened, 0);
});

Deno.test("proxy answers 502 to a server that has switched to something else", async () => {
  const accepts: ((accept: string) => string)[] = [
    () => switching("bm9uc2Vuc2U="),
    (accept) => switching(accept).replace("Upgrade: websocket", "Upgrade: h2c"),
    (accept) => switching(accept, ["Sec-WebSocket-Extensions: permessage-deflate"]),
    (accept) => switching(accept, ["Sec-WebSocket-Protocol: other"]),
  ];
  for (const accept of accepts) {
    await using server = rawUpstream(async (connection) => {
      const request = await connection.readRequest();
      await connection.write(accept(await acceptOf(request!)));
      await connection.untilClosed();
    });
    await using proxy = await startProxy({ upstreams: [server.address] });
    using client = await proxy.connect();
    await client.write(upgradeHead(["Sec-WebSocket-Protocol: chat"]));
    const answer = await readAnswer(client);
    assertEquals([answer.status, answer.field("proxy-status")], [502, "lbproxy; error=http_protocol_error"]);
  }
});

Deno.test("proxy takes a subprotocol out of a list without spaces, which the runtime would not", async () => {
  await using server = rawUpstream(async (connection) => {
    const request = await connection.readRequest();
    await connection.write(switching(await acceptOf(request!), ["Sec-WebSocket-Protocol: b"]));
    await connection.untilClosed();
  });
  await using proxy = await startProxy({ upstreams: [server.address] });
  using client = await proxy.connect();
  await client.write(upgradeHead(["Sec-WebSocket-Protocol: a,b"]));
  const head = (await client.readHead())!.toLowerCase();
  assertEquals(head.split("\r\n").filter((line) => line.startsWith("sec-websocket-protocol")), [
    "sec-websocket-protocol: b",
  ]);
});

Deno.test("proxy still refuses a switch of protocols that nobody asked for", async () => {
  await using server = rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.write(switching("x"));
    await connection.untilClosed();
  });
  await using proxy = await startProxy({ upstreams: [server.address] });
  assertEquals((await proxy.ask()).status, 502);
});

Deno.test("proxy reaches a server of WebSockets by address under another name over TLS, for a client over TLS", async () => {
  const ca = await testCa();
  await using server = webSocketUpstream({ tls: await ca.issue({ names: ["one.one.one.one"] }) });
  await using proxy = await startProxy({
    upstreams: { servers: [server.address], tls: { serverName: "one.one.one.one", caCerts: [ca.cert] } },
    listen: { hostname: "127.0.0.1", port: 0, tls: await ca.issue({ names: ["localhost"] }) },
    upstreamRequestFilter: (request) => request.headers.set("host", "one.one.one.one"),
  });
  using httpClient = await trustingClient();
  const client = await openWebSocket(`wss://localhost:${proxy.port}/`, { client: httpClient });
  client.socket.send("secret");
  assertEquals(await client.next(), "secret");
  await client.close();
  const { headers } = server.upstream.seen[0]!;
  assertEquals([headers.get("host"), headers.get("x-forwarded-proto")], ["one.one.one.one", "https"]);
});

Deno.test("proxy has limiter and request filter decide about WebSockets", async () => {
  await using server = webSocketUpstream();
  await using proxy = await startProxy({
    upstreams: [server.address],
    limiter: { key: "header:who", limit: 1, window: "1m" },
    requestFilter: (request) =>
      request.headers.get("who") === "nobody" ? new Response("who?", { status: 401 }) : undefined,
  });
  const client = await openWebSocket(`ws://${proxy.address}/`, { headers: { who: "me" } });
  for (const [who, status] of [["me", 429], ["nobody", 401]] as const) {
    using raw = await proxy.connect();
    await raw.write(upgradeHead([`Who: ${who}`]));
    assertEquals((await readAnswer(raw)).status, status);
  }
  client.socket.send("still");
  assertEquals(await client.next(), "still");
  await client.close();
  assertEquals(server.sockets.length, 1);
});

Deno.test("proxy closes the server's side when a filter answers in its place", async () => {
  await using server = webSocketUpstream();
  await using proxy = await startProxy({
    upstreams: [server.address],
    responseFilter: () => new Response("no", { status: 418 }),
  });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  assertEquals((await readAnswer(client)).status, 418);
  await server.sockets[0]!.closed;
});

Deno.test("proxy holds the place of a concurrency policy until a WebSocket is closed", async () => {
  await using server = webSocketUpstream();
  await using proxy = await startProxy({
    upstreams: [server.address],
    limiter: { key: "ip", algorithm: "concurrency", limit: 1 },
  });
  const statusOf = async () => {
    using raw = await proxy.connect();
    await raw.write(upgradeHead());
    return Number((await raw.readHead())!.slice(9, 12));
  };
  const client = await openWebSocket(`ws://${proxy.address}/`);
  assertEquals(await statusOf(), 429);
  await client.close();
  await proxy.seen.untilEntries(2);
  assertEquals(await statusOf(), 101);
  await proxy.seen.untilEntries(3);
});

Deno.test("proxy answers 501 to WebSockets where they are switched off", async () => {
  await using server = webSocketUpstream();
  await using proxy = await startProxy({ upstreams: { servers: [server.address], webSocket: false } });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  assertEquals((await readAnswer(client)).status, 501);
  assertEquals(server.upstream.requests, 0);
});

function bytes(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
