/** Clients that attack TLS: whatever they send, their connection ends, and others are served. */

import { assert, assertEquals } from "@std/assert";
import { askByOpenSsl } from "../support/openssl.ts";
import { latin1Bytes, RawConnection } from "../support/raw_connection.ts";
import { readAnswer, startProxy, type TestProxy } from "../support/start_proxy.ts";
import { startUpstream } from "../support/start_upstream.ts";
import { testCa } from "../support/test_ca.ts";
import { tlsClient } from "../support/tls_client.ts";

/** A proxy with TLS that is attacked, and a client that is served all the same. */
async function attack(
  run: (proxy: TestProxy) => Promise<void>,
  listen: Record<string, unknown> = {},
): Promise<void> {
  await using upstream = startUpstream();
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, engine: "http1", tls, ...listen },
  });
  await run(proxy);
  using client = await tlsClient(proxy.port, "localhost");
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await readAnswer(client)).status, 200);
}

/** One record of TLS. */
function record(type: number, content: readonly number[], version = 1): number[] {
  return [type, 3, version, content.length >> 8, content.length & 255, ...content];
}

/** A message of the handshake. */
function handshake(type: number, content: readonly number[]): number[] {
  return record(22, [
    type,
    content.length >> 16,
    content.length >> 8 & 255,
    content.length & 255,
    ...content,
  ]);
}

const RANDOM: readonly number[] = Array.from({ length: 32 }, (_, i) => i * 7 & 255);
const hello = (rest: readonly number[]): number[] => handshake(1, [3, 3, ...RANDOM, ...rest]);
const CIPHERS = [0, 2, 0x13, 1];

/** What is no ClientHello, or a broken one. */
const FIRST: Readonly<Record<string, readonly number[]>> = {
  "a request without TLS": [...latin1Bytes("GET / HTTP/1.1\r\nHost: h\r\n\r\n")],
  "the preface of HTTP/2": [...latin1Bytes("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
  zeros: Array.from({ length: 100 }, () => 0),
  ones: Array.from({ length: 100 }, () => 255),
  "a ClientHello of SSL 2": [0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, ...RANDOM, ...RANDOM],
  "a record of more than 16 KiB": [22, 3, 1, 0xff, 0xff, ...RANDOM],
  "a record of no version": [22, 9, 9, 0, 5, 1, 0, 0, 1, 0],
  "an empty record": [22, 3, 1, 0, 0],
  "an alert": record(21, [2, 40]),
  "application data": record(23, [...RANDOM]),
  "a change of the cipher": record(20, [1]),
  "a Finished": handshake(20, [...RANDOM]),
  "a ServerHello": handshake(2, [3, 3, ...RANDOM, 0, 0x13, 1, 0]),
  "a ClientHello without anything": handshake(1, []),
  "a ClientHello of 16 MiB": record(22, [1, 255, 255, 255, 3, 3, ...RANDOM]),
  "a session identifier that is too long": hello([255, ...RANDOM]),
  "no ciphers": hello([0, 0, 0, 1, 0, 0, 0]),
  "an odd number of bytes of ciphers": hello([0, 0, 3, 0x13, 1, 0, 1, 0, 0, 0]),
  "unknown ciphers": hello([0, 0, 2, 0xfa, 0xfa, 1, 0, 0, 0]),
  "no compression": hello([0, ...CIPHERS, 0, 0, 0]),
  "extensions that are longer than they are": hello([0, ...CIPHERS, 1, 0, 255, 255, 0, 0]),
  "an empty name": hello([0, ...CIPHERS, 1, 0, 0, 9, 0, 0, 0, 5, 0, 3, 0, 0, 0]),
  "a name with bytes of no name": hello([
    ...[0, ...CIPHERS, 1, 0, 0, 13, 0, 0, 0, 9, 0, 7, 0, 0, 4, 0, 255, 10, 13],
  ]),
  "the same extension twice": hello([0, ...CIPHERS, 1, 0, 0, 8, 0, 23, 0, 0, 0, 23, 0, 0]),
};

for (const [what, bytes] of Object.entries(FIRST)) {
  Deno.test(`TLS: a client that begins with ${what} is closed, and others are served`, async () => {
    await attack(async (proxy) => {
      using client = new RawConnection(await Deno.connect({ hostname: "127.0.0.1", port: proxy.port }));
      await client.write(Uint8Array.from(bytes));
      await client.untilClosed();
      assertEquals(proxy.seen.entries, []);
    }, { timeouts: { head: "300ms" } });
  });
}

Deno.test("TLS: clients that ask to negotiate again and again are not followed", async () => {
  await attack(async ({ port }) => {
    const child = new Deno.Command("openssl", {
      args: [
        "s_client",
        "-connect",
        `127.0.0.1:${port}`,
        "-servername",
        "localhost",
        "-tls1_2",
        "-no_ign_eof",
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    // A line of R alone is what asks for it.
    for (let n = 0; n < 20; n++) {
      if (await writer.write(latin1Bytes("R\n")).then(() => false, () => true)) break;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await writer.close().catch(() => {});
    const { stderr, stdout } = await child.output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert(/RENEGOTIATING/.test(text) && !/SSL-Session:[^]*RENEGOTIATING[^]*SSL-Session:/.test(text), text);
  });
});

Deno.test("TLS: 600 made-up names look no more than 64 certificates up at a time, and known names are served", async () => {
  const fallback = await (await testCa()).issue({ names: ["localhost"] });
  let running = 0;
  let most = 0;
  let searches = 0;
  const certificates = async (name: string) => {
    searches++;
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, 1));
    running--;
    return name === "known.example" ? fallback : null;
  };
  await attack(async ({ port }) => {
    let next = 0;
    const clients = Array.from({ length: 100 }, async () => {
      while (next < 600) {
        const name = `n${next++}.example`;
        const bytes = [...latin1Bytes(name)];
        const list = [0, bytes.length >> 8, bytes.length, ...bytes];
        const sni = [0, list.length, ...list];
        const extensions = [0, 0, 0, sni.length, ...sni, ...EXTENSIONS];
        using client = new RawConnection(await Deno.connect({ hostname: "127.0.0.1", port }));
        await client.write(
          Uint8Array.from(
            hello([0, ...CIPHERS, 1, 0, extensions.length >> 8, extensions.length & 255, ...extensions]),
          ),
        );
        // Something comes, or it is closed; either way the name was looked at.
        await client.read(1).catch(() => null);
      }
    });
    await Promise.all(clients);
    assert(searches > 64 && most <= 64, `${searches} searches, ${most} at a time`);
    assertEquals((await askByOpenSsl(port, ["-servername", "known.example"])).status, 200);
  }, { tls: { ...fallback, certificates } });
});

/** What TLS 1.3 wants of a ClientHello: versions, a group, signatures, and a share of X25519. */
const EXTENSIONS: readonly number[] = [
  ...[0, 43, 0, 3, 2, 3, 4],
  ...[0, 10, 0, 4, 0, 2, 0, 29],
  ...[0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1],
  ...[0, 51, 0, 38, 0, 36, 0, 29, 0, 32, ...RANDOM],
];

Deno.test("TLS: a client that takes nothing of a response is cut off, and its server waits meanwhile", async () => {
  let sent = 0;
  const piece = new Uint8Array(64 * 1024);
  const cancelled = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: () =>
      new Response(
        new ReadableStream({
          pull(controller) {
            sent += piece.length;
            controller.enqueue(piece);
          },
          cancel: () => cancelled.resolve(),
        }, { highWaterMark: 0 }),
      ),
  });
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, engine: "http1", tls, timeouts: { write: "500ms" } },
  });
  using client = await tlsClient(proxy.port, "localhost");
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  const { status, error } = await proxy.seen.untilEntries(1);
  assertEquals([status, error], [499, "client_gone"]);
  await cancelled.promise;
  // What the buffers of three sockets hold, and not what a server could send in half a second.
  assert(sent < 64 * 1024 * 1024, `${sent} bytes`);
});
