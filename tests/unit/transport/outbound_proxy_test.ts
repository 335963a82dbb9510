import { assertEquals, assertRejects } from "@std/assert";
import { dialByProxy, parseProxy } from "../../../lib/transport/outbound_proxy.ts";
import { latin1Bytes } from "../../support/raw_connection.ts";
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

Deno.test("dialByProxy() leaves nothing open when the signal aborts just after the connection is made", async () => {
  await using proxy = rawUpstream((connection) => connection.untilClosed());
  const address = parseProxy(`http://${proxy.address}`)!;
  const reason = new Error("called off");
  const { throwIfAborted, removeEventListener } = AbortSignal.prototype;
  // The abort comes so many microtasks after the connection.
  for (let turns = 0; turns < 8; turns++) {
    const controller = new AbortController();
    const { signal } = controller;
    let connected = false;
    signal.removeEventListener = (type: string, listener: EventListener) => {
      connected = true;
      removeEventListener.call(signal, type, listener);
    };
    signal.throwIfAborted = () => {
      throwIfAborted.call(signal);
      if (!connected) return;
      connected = false;
      let left = turns;
      const turn = (): void => left-- === 0 ? controller.abort(reason) : queueMicrotask(turn);
      queueMicrotask(turn);
    };
    await assertRejects(() => dialByProxy(address, SERVER, signal));
  }
  // The sanitizer finds what is left open.
  assertEquals(proxy.opened, 8);
});

Deno.test("dialByProxy() sends SOCKS proxies addresses as bytes, and any other host as a name", async () => {
  const received: number[][] = [];
  await using proxy = rawUpstream(async (connection) => {
    await connection.readExactly(3);
    await connection.write(Uint8Array.of(5, 0));
    received.push([...(await connection.read())!]);
    await connection.write(Uint8Array.of(5, 0, 0, 1, 0, 0, 0, 0, 0, 0));
    await connection.untilClosed();
  });
  const address = parseProxy(`socks5://${proxy.address}`)!;
  const sentFor = async (hostname: string): Promise<number[]> => {
    (await dialByProxy(address, { kind: "tcp", hostname, port: 258 }, new AbortController().signal)).close();
    const bytes = received.pop()!;
    assertEquals([bytes.slice(0, 3), bytes.slice(-2)], [[5, 1, 0], [1, 2]]);
    return bytes.slice(3, -2);
  };
  const zeros = (count: number): number[] => new Array(count).fill(0);
  const ipv4 = [1, 192, 0, 2, 1];
  const cases: Record<string, number[]> = {
    "192.0.2.1": ipv4,
    "::ffff:192.0.2.1": ipv4,
    "2001:db8::a0b": [4, 0x20, 0x01, 0x0d, 0xb8, ...zeros(10), 0x0a, 0x0b],
    "::1": [4, ...zeros(15), 1],
  };
  for (const name of ["shop.example", "1.2.3.", "1.2.3.256", "010.0.0.1", "fe80::1%eth0", "x".repeat(255)]) {
    cases[name] = [3, name.length, ...latin1Bytes(name)];
  }
  for (const [hostname, bytes] of Object.entries(cases)) {
    assertEquals(await sentFor(hostname), bytes, hostname);
  }
  await assertRejects(() => sentFor("x".repeat(256)), Error, "SOCKS takes no text of more than 255 bytes");
});
