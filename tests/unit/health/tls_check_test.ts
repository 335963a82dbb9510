import { assertEquals, assertRejects } from "@std/assert";
import { tlsCheck } from "../../../lib/health/probe.ts";
import { Server } from "../../../lib/upstream/server.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { testCa } from "../../support/test_ca.ts";
import { tlsUpstream } from "../../support/tls_upstream.ts";

const NEVER = new AbortController().signal;

async function serverAt(port: number, serverName: string, trusted = true): Promise<Server> {
  const caCerts = trusted ? [(await testCa()).cert] : [];
  const peer = {
    address: { kind: "tcp", hostname: "127.0.0.1", port },
    tls: { serverName, caCerts },
  } as const;
  return new Server({ id: `127.0.0.1:${port}`, peer });
}

Deno.test("tlsCheck() passes a server with the right certificate, and no other", async () => {
  await using upstream = await tlsUpstream({ names: ["api.test"] });
  await tlsCheck()(await serverAt(upstream.port, "api.test"), NEVER);
  await tlsCheck(upstream.port)(await serverAt(1, "api.test"), NEVER);
  const wrongName = await serverAt(upstream.port, "other.test");
  await assertRejects(() => tlsCheck()(wrongName, NEVER), Error, "does not match certificate");
  const untrusted = await serverAt(upstream.port, "api.test", false);
  await assertRejects(() => tlsCheck()(untrusted, NEVER), Error, "verify");
});

Deno.test("tlsCheck() knows a server by an address that stands in its certificate", async () => {
  await using upstream = await tlsUpstream({ names: ["127.0.0.1"] });
  await tlsCheck()(await serverAt(upstream.port, "127.0.0.1"), NEVER);
  const other = await serverAt(upstream.port, "127.0.0.2");
  await assertRejects(() => tlsCheck()(other, NEVER), Error, "not in the cert's list");
});

Deno.test("tlsCheck() fails a server that does not speak TLS", async () => {
  await using upstream = rawUpstream((connection) => connection.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
  const server = await serverAt(upstream.port, "api.test");
  await assertRejects(() => tlsCheck()(server, NEVER));
});

Deno.test("tlsCheck() lets go of a handshake that hangs when the signal aborts", async () => {
  const begun = Promise.withResolvers<void>();
  await using upstream = rawUpstream(async (connection) => {
    await connection.read();
    begun.resolve();
    assertEquals(await connection.read(), null);
  });
  const controller = new AbortController();
  const check = tlsCheck()(await serverAt(upstream.port, "api.test"), controller.signal);
  await begun.promise;
  controller.abort(new Error("late"));
  await assertRejects(() => check);
  await upstream.untilOpen(0);
  assertEquals(upstream.errors, []);
});
