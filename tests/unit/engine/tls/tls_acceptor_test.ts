import { assertEquals, assertRejects } from "@std/assert";
import { resolveConfig } from "../../../../lib/config/resolve_config.ts";
import { DeadlineWheel } from "../../../../lib/core/cancellation.ts";
import { systemClock } from "../../../../lib/core/clock.ts";
import { TlsAcceptor } from "../../../../lib/engine/tls/tls_acceptor.ts";
import type { RawConnection } from "../../../support/raw_connection.ts";
import { testCa } from "../../../support/test_ca.ts";
import { tlsClient } from "../../../support/tls_client.ts";

const KEPT = 256;

Deno.test("TlsAcceptor keeps 256 clients that nobody has taken, and closes those behind", async () => {
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  const { listen: [listen] } = resolveConfig({
    upstreams: ["a:80"],
    listen: { hostname: "127.0.0.1", port: 0, tls },
  });
  using wheel = new DeadlineWheel({ clock: systemClock, tickMs: 20 });
  const fail = () => {
    throw new Error("Nothing was to be told");
  };
  const acceptor = await TlsAcceptor.open({
    listen: listen!,
    clock: systemClock,
    wheel,
    onCertificate: fail,
    onCallbackError: fail,
    onClientRefused: fail,
  });
  const clients: RawConnection[] = [];
  try {
    const { port } = acceptor.addr;
    for (let i = 0; i < KEPT; i++) clients.push(await tlsClient(port, "localhost"));
    for (let i = 0; i < 3; i++) {
      using refused = await tlsClient(port, "localhost");
      await refused.untilClosed();
    }
    // Those who were kept are there, in their order.
    for (const client of clients) {
      const taken = await acceptor.accept();
      try {
        await client.write("x");
        const buffer = new Uint8Array(2);
        assertEquals([await taken.read(buffer), buffer[0]], [1, "x".charCodeAt(0)]);
      } finally {
        taken.close();
      }
    }
    const next = acceptor.accept();
    acceptor.close();
    await assertRejects(() => next);
  } finally {
    acceptor.close();
    for (const client of clients) client.close();
  }
});
