import { assertEquals, assertRejects } from "@std/assert";
import { dialByProxy, parseProxy } from "../../../lib/transport/outbound_proxy.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";

const SERVER = { kind: "tcp", hostname: "192.0.2.1", port: 80 } as const;
const MOST = 8192;

/** A response to CONNECT whose head has so many bytes. */
function responseOf(bytes: number): string {
  const [start, end] = ["HTTP/1.1 200 OK\r\nX: ", "\r\n\r\n"];
  return start + "x".repeat(bytes - start.length - end.length) + end;
}

Deno.test("dialByProxy() takes no response of more than 8 KiB", async () => {
  await using proxy = rawUpstream(async (connection, index) => {
    await connection.readHead();
    await connection.write(responseOf(index === 0 ? MOST : MOST + 1)).catch(() => {});
    await connection.untilClosed();
  });
  const address = parseProxy(`http://${proxy.address}`)!;
  const { signal } = new AbortController();
  (await dialByProxy(address, SERVER, signal)).close();
  await assertRejects(() => dialByProxy(address, SERVER, signal), Error, "its response is too long");
  await proxy.untilOpen(0);
  assertEquals(proxy.opened, 2);
});
