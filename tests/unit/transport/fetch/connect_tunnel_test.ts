import { assertEquals } from "@std/assert";
import { ConnectTunnel } from "../../../../lib/transport/fetch/peer_client.ts";
import { deadPort } from "../../../support/dead_port.ts";
import { rawClient } from "../../../support/raw_client.ts";
import { latin1Text, type RawConnection } from "../../../support/raw_connection.ts";
import { rawUpstream } from "../../../support/raw_upstream.ts";

const CLIENT = { url: "", basicAuth: { username: "", password: "" } };

function accessOf(tunnel: ConnectTunnel): { port: number; authorization: string } {
  const { url, basicAuth: { username, password } } = { ...CLIENT, ...tunnel.proxy };
  return { port: Number(new URL(url).port), authorization: `Basic ${btoa(`${username}:${password}`)}` };
}

async function connect(tunnel: ConnectTunnel, head?: string): Promise<RawConnection> {
  const { port, authorization } = accessOf(tunnel);
  const client = await rawClient(port);
  await client.write(
    head ?? `CONNECT any.example:443 HTTP/1.1\r\nProxy-Authorization: ${authorization}\r\n\r\n`,
  );
  return client;
}

Deno.test("ConnectTunnel leads to its address, whatever name is asked for", async () => {
  await using upstream = rawUpstream(async (connection) => {
    const text = latin1Text(await connection.readExactly(4));
    await connection.write(text.toUpperCase());
  });
  using tunnel = new ConnectTunnel({ kind: "tcp", hostname: "127.0.0.1", port: upstream.port });
  using client = await connect(tunnel);
  assertEquals(await client.readHead(), "HTTP/1.1 200 OK\r\n\r\n");
  await client.write("ping");
  assertEquals(latin1Text(await client.readToEnd()), "PING");
  await upstream.untilOpen(0);
});

Deno.test("ConnectTunnel lets nobody in who does not know its password", async () => {
  await using upstream = rawUpstream((connection) => connection.untilClosed());
  using tunnel = new ConnectTunnel({ kind: "tcp", hostname: "127.0.0.1", port: upstream.port });
  const { authorization } = accessOf(tunnel);
  const heads = [
    "CONNECT any.example:443 HTTP/1.1\r\n\r\n",
    `CONNECT any.example:443 HTTP/1.1\r\nProxy-Authorization: Basic ${btoa("lbproxy:")}\r\n\r\n`,
    `CONNECT any.example:443 HTTP/1.1\r\nProxy-Authorization: ${authorization}x\r\n\r\n`,
    `GET / HTTP/1.1\r\nProxy-Authorization: ${authorization}\r\n\r\n`,
    "x".repeat(10_000),
  ];
  for (const head of heads) {
    using client = await connect(tunnel, head);
    await client.untilClosed();
  }
  assertEquals(upstream.opened, 0);
});

Deno.test("ConnectTunnel says why the address cannot be reached", async () => {
  using tunnel = new ConnectTunnel({ kind: "tcp", hostname: "127.0.0.1", port: deadPort() });
  using client = await connect(tunnel);
  assertEquals(await client.readHead(), "HTTP/1.1 502 Bad Gateway\r\n\r\n");
  assertEquals(tunnel.dialFailure, "connection_refused");
});

Deno.test("ConnectTunnel closes the way to the server when the client goes, and the other way round", async () => {
  await using upstream = rawUpstream(async (connection, index) => {
    if (index === 0) await connection.untilClosed();
  });
  using tunnel = new ConnectTunnel({ kind: "tcp", hostname: "127.0.0.1", port: upstream.port });
  const first = await connect(tunnel);
  await first.readHead();
  first.close();
  await upstream.untilOpen(0);
  using second = await connect(tunnel);
  await second.untilClosed();
});

Deno.test("ConnectTunnel.retire() lets open connections end", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.write(await connection.readExactly(4));
  });
  using tunnel = new ConnectTunnel({ kind: "tcp", hostname: "127.0.0.1", port: upstream.port });
  using client = await connect(tunnel);
  await client.readHead();
  tunnel.retire();
  tunnel.retire();
  await client.write("ping");
  assertEquals(latin1Text(await client.readToEnd()), "ping");
  await tunnel.finished;
});

Deno.test("ConnectTunnel[Symbol.dispose]() ends everything", async () => {
  await using upstream = rawUpstream((connection) => connection.untilClosed());
  const tunnel = new ConnectTunnel({ kind: "tcp", hostname: "127.0.0.1", port: upstream.port });
  using client = await connect(tunnel);
  await client.readHead();
  tunnel[Symbol.dispose]();
  tunnel[Symbol.dispose]();
  await client.untilClosed();
  await upstream.untilOpen(0);
  await tunnel.finished;
});
