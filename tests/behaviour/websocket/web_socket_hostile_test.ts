import { assertEquals } from "@std/assert";
import { MAX_MESSAGE_FRAMES } from "../../../lib/transport/websocket/frame_parser.ts";
import { engineCan } from "../../support/engine.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { acceptSwitch, openWebSocket, readFrame, upgradeHead } from "../../support/test_web_socket.ts";
import { bytesOf, frame } from "../../support/web_socket_frames.ts";

const MASK = [1, 2, 3, 4];
const BROKEN_OFF: [number, string] = [1011, "the server broke off"];

Deno.test("proxy tells a server by a close frame what it did wrong, though it goes on sending", async () => {
  const cases: [what: string, bytes: number[], code: number][] = [
    ["bits that were not agreed on", [0xc1, 0], 1002],
    ["a kind that does not exist", [0x83, 0], 1002],
    ["a masked frame", frame(0x1, [], { mask: MASK }), 1002],
    ["a ping in pieces", frame(0x9, [], { fin: false }), 1002],
    ["a ping of 126 bytes", frame(0x9, new Uint8Array(126)), 1002],
    ["a close frame of 126 bytes", frame(0x8, [3, 0xe8, ...new Array(124).fill(0x61)]), 1002],
    ["a close frame in pieces", frame(0x8, [3, 0xe8], { fin: false }), 1002],
    ["half a code", frame(0x8, [3]), 1002],
    ...[999, 1004, 1005, 1006, 1015, 1016, 2999, 5000].map((code): [string, number[], number] => [
      `code ${code}`,
      frame(0x8, [code >> 8, code & 255]),
      1002,
    ]),
    ["a reason that is not UTF-8", frame(0x8, [3, 0xe8, 0xff]), 1007],
    ["a message that goes on without a beginning", frame(0x0), 1002],
    ["a message within another", [...frame(0x1, [], { fin: false }), ...frame(0x1)], 1002],
    ["a length in more bytes than it takes", [0x82, 126, 0, 5, 1, 2, 3, 4, 5], 1002],
    ["a length with its highest bit set", [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002],
    ...(engineCan("texts of WebSockets checked")
      ? [["a text that is not UTF-8", frame(0x1, [0xff]), 1007] satisfies [string, number[], number]]
      : []),
    ["a message that is too long", [0x82, 126, 4, 1], 1009],
  ];
  let bytes: number[] = [];
  const codes: number[] = [];
  const more = new Uint8Array(64 * 1024);
  await using server = rawUpstream(async (connection) => {
    await acceptSwitch(connection);
    await connection.write(Uint8Array.from(bytes));
    await connection.write(more);
    const { opcode, payload } = await readFrame(connection);
    codes.push(opcode === 0x8 ? payload[0]! * 256 + payload[1]! : -opcode);
    // Both throw when the connection was reset.
    await connection.write(more);
    assertEquals((await connection.readToEnd()).length, 0);
  });
  await using proxy = await startProxy({
    upstreams: { servers: [server.address], webSocket: { maxMessageSize: "1KiB" } },
  });
  for (const [i, [what, wrong, code]] of cases.entries()) {
    bytes = wrong;
    const client = await openWebSocket(`ws://${proxy.address}/`);
    assertEquals([what, await client.closed], [what, BROKEN_OFF]);
    const entry = await proxy.seen.untilEntries(i + 1);
    assertEquals([what, codes[i], entry.error], [what, code, "connection_terminated"]);
    assertEquals([what, server.errors], [what, []]);
  }
});

Deno.test("proxy bounds the frames of a server's message, however little is in them", async () => {
  const codes: number[] = [];
  await using server = rawUpstream(async (connection, index) => {
    await acceptSwitch(connection);
    const count = MAX_MESSAGE_FRAMES + index;
    const empties = new Uint8Array(2 * count);
    empties[0] = 0x01;
    empties[2 * count - 2] = 0x80;
    await connection.write(empties);
    const { payload } = await readFrame(connection);
    codes.push(payload[0]! * 256 + payload[1]!);
  });
  await using proxy = await startProxy({ upstreams: [server.address] });
  const good = await openWebSocket(`ws://${proxy.address}/`);
  assertEquals(await good.next(), "");
  await good.close(4000);
  const bad = await openWebSocket(`ws://${proxy.address}/`);
  assertEquals(await Promise.race([bad.closed, bad.next()]), BROKEN_OFF);
  await proxy.seen.untilEntries(2);
  assertEquals(codes, [4000, 1008]);
});

Deno.test("proxy carries every code of closing that a server may send, 1014 among them", async () => {
  let sent = 0;
  const returned: number[] = [];
  await using server = rawUpstream(async (connection) => {
    await acceptSwitch(connection);
    await connection.write(Uint8Array.from(frame(0x8, [sent >> 8, sent & 255, 0x68, 0x69])));
    const { payload } = await readFrame(connection);
    returned.push(payload[0]! * 256 + payload[1]!);
  });
  await using proxy = await startProxy({ upstreams: [server.address] });
  const codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999];
  for (const [i, code] of codes.entries()) {
    sent = code;
    using client = await proxy.connect();
    await client.write(upgradeHead());
    await client.readHead();
    const { opcode, payload } = await readFrame(client);
    assertEquals([opcode, ...payload], [0x8, code >> 8, code & 255, 0x68, 0x69]);
    await client.write(Uint8Array.from(frame(0x8, payload, { mask: MASK })));
    assertEquals((await proxy.seen.untilEntries(i + 1)).error, null);
  }
  assertEquals(returned, codes);
});

Deno.test("proxy takes a client's close frame of more than 125 bytes for a broken WebSocket", async () => {
  const received: number[] = [];
  await using server = rawUpstream(async (connection) => {
    await acceptSwitch(connection);
    received.push(...await connection.readToEnd());
  });
  await using proxy = await startProxy({ upstreams: [server.address] });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  await client.readHead();
  const payload = [3, 0xe8, ...bytesOf("a".repeat(124))];
  await client.write(Uint8Array.from(frame(0x8, payload, { mask: MASK })));
  assertEquals((await proxy.seen.untilEntries(1)).error, "http_request_error");
  await server.untilOpen(0);
  assertEquals(received.slice(0, 2), engineCan("WebSocket frames as they came") ? [0x88, 0x82] : []);
});
