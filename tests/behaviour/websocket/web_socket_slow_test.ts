import { assertEquals } from "@std/assert";
import type { RawConnection } from "../../support/raw_connection.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { acceptSwitch, readFrame, upgradeHead } from "../../support/test_web_socket.ts";
import { bytesOf, frame } from "../../support/web_socket_frames.ts";

const MASK = [1, 2, 3, 4];
/** A message of 64 KiB. */
const PIECE = Uint8Array.from(frame(0x2, new Uint8Array(64 * 1024)));
const END = Uint8Array.from(frame(0x1, bytesOf("end")));

/** Counts something that a test waits for; fails when it cannot come any more. */
class Counter {
  #count = 0;
  #waiting: { count: number; resolve: () => void } | null = null;
  readonly #over = Promise.withResolvers<never>();

  constructor() {
    this.#over.promise.catch(() => {});
  }

  add(): void {
    this.#count++;
    if (this.#waiting !== null && this.#count >= this.#waiting.count) this.#waiting.resolve();
  }

  end(): void {
    this.#over.reject(new Error(`It ended after ${this.#count}`));
  }

  /** Resolves when there are so many more. */
  more(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting = { count: this.#count + count, resolve };
    return Promise.race([promise, this.#over.promise]);
  }
}

/** A server that sends pieces and an end, responds to pings behind them, and counts the pings. */
function sending(pieces: number, pings: Counter): (connection: RawConnection) => Promise<void> {
  return async (connection) => {
    await acceptSwitch(connection);
    let written = Promise.resolve();
    const write = (bytes: Uint8Array): void => {
      written = written.then(() => connection.write(bytes)).catch(() => {});
    };
    for (let i = 0; i < pieces; i++) write(PIECE);
    write(END);
    try {
      for (;;) {
        const { opcode, payload } = await readFrame(connection);
        if (opcode === 0x8) {
          write(Uint8Array.from(frame(0x8, payload)));
          break;
        }
        write(Uint8Array.from(frame(0xa, payload)));
        pings.add();
      }
    } finally {
      pings.end();
      await written;
    }
  };
}

/** Reads messages up to the end, responds to pings, and closes; gives how many bytes of binaries there were. */
async function readToTheEnd(client: RawConnection): Promise<number> {
  let bytes = 0;
  for (;;) {
    const { opcode, payload } = await readFrame(client);
    if (opcode === 0x9) await client.write(Uint8Array.from(frame(0xa, payload, { mask: MASK })));
    else if (opcode === 0x2) bytes += payload.length;
    else {
      assertEquals([opcode, ...payload], [0x1, ...bytesOf("end")]);
      await client.write(Uint8Array.from(frame(0x8, [3, 0xe8], { mask: MASK })));
      return bytes;
    }
  }
}

Deno.test("proxy keeps a slow client whose server cannot respond to pings behind what is held back", async () => {
  const pings = new Counter();
  await using server = rawUpstream(sending(512, pings));
  await using proxy = await startProxy({
    upstreams: {
      servers: [server.address],
      webSocket: { pingInterval: "500ms", idleTimeout: "700ms", maxMessageSize: "1MiB" },
    },
  });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  await client.readHead();
  // It reads nothing while both sides would have been given up, twice.
  await pings.more(3);
  assertEquals(await readToTheEnd(client), 512 * 64 * 1024);
  assertEquals((await proxy.seen.untilEntries(1)).error, null);
});

Deno.test("proxy keeps a slow client that comes to a ping late, behind what the sockets hold", async () => {
  const pings = new Counter();
  await using server = rawUpstream(sending(32, pings));
  await using proxy = await startProxy({
    upstreams: { servers: [server.address], webSocket: { pingInterval: "500ms" } },
  });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  await client.readHead();
  await pings.more(3);
  assertEquals(await readToTheEnd(client), 32 * 64 * 1024);
  assertEquals((await proxy.seen.untilEntries(1)).error, null);
});

Deno.test("proxy keeps a slow server that comes to a ping late, behind what a client has sent", async () => {
  const pings = new Counter();
  let received = 0;
  await using server = rawUpstream(async (connection) => {
    await acceptSwitch(connection);
    await pings.more(3);
    for (;;) {
      const { opcode, payload } = await readFrame(connection);
      if (opcode === 0x2) received += payload.length;
      if (opcode !== 0x8) continue;
      await connection.write(Uint8Array.from(frame(0x8, payload)));
      return;
    }
  });
  await using proxy = await startProxy({
    upstreams: { servers: [server.address], webSocket: { pingInterval: "500ms" } },
  });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  await client.readHead();
  const piece = Uint8Array.from(frame(0x2, new Uint8Array(64 * 1024), { mask: MASK }));
  let written = Promise.resolve();
  const write = (bytes: Uint8Array): void => {
    written = written.then(() => client.write(bytes));
  };
  for (let i = 0; i < 160; i++) write(piece);
  // Pings come as often as those to the server, which does not read meanwhile.
  for (let i = 0; i < 3; i++) {
    const { opcode, payload } = await readFrame(client);
    if (opcode !== 0x9) pings.end();
    assertEquals(opcode, 0x9);
    write(Uint8Array.from(frame(0xa, payload, { mask: MASK })));
    pings.add();
  }
  write(Uint8Array.from(frame(0x8, [3, 0xe8], { mask: MASK })));
  await written;
  assertEquals((await proxy.seen.untilEntries(1)).error, null);
  assertEquals([received, server.errors], [160 * 64 * 1024, []]);
});
