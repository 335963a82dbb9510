import { assertEquals, assertRejects } from "@std/assert";
import { openSocket } from "../../../../lib/transport/http1/dial.ts";
import type { Peer } from "../../../../lib/upstream/peer.ts";
import { rawUpstream } from "../../../support/raw_upstream.ts";

const DIAL = new URL("../../../../lib/transport/http1/dial.ts", import.meta.url).href;
const CONFIG = new URL("../../../../deno.json", import.meta.url).pathname;

/** Looks a name up without a descriptor, which it has again when it learns of the failure. */
const SCRIPT = `
  import { openSocket } from ${JSON.stringify(DIAL)};
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const address = { kind: "tcp", hostname: "localhost", port: listener.addr.port };
  const held = [];
  const take = () => {
    try {
      for (;;) held.push(Deno.openSync("/dev/null"));
    } catch {
      // All are taken.
    }
  };
  take();
  const opened = openSocket({ address, tls: null }, new AbortController().signal);
  // The lookup ends meanwhile: it has a thread of its own.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  for (const file of held) file.close();
  (await opened).close();
  console.log("connected");
`;

Deno.test("openSocket() connects when a lookup lacked a descriptor that has come back since", async () => {
  const program = new Deno.Command("sh", {
    args: ["-c", 'ulimit -n 64; exec "$@"', "sh", Deno.execPath(), "run", "-A", `--config=${CONFIG}`, "-"],
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = program.stdin.getWriter();
  await writer.write(new TextEncoder().encode(SCRIPT));
  await writer.close();
  const { stdout, stderr } = await program.output();
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  assertEquals([text(stdout), text(stderr)], ["connected\n", ""]);
});

Deno.test("openSocket() leaves nothing open when it is called off as the connection is made", async () => {
  await using server = rawUpstream((connection) => connection.untilClosed());
  const address = { kind: "tcp", hostname: "127.0.0.1", port: server.port } as const;
  const peer = { address, tls: null } as unknown as Peer;
  const controller = new AbortController();
  const { signal } = controller;
  const calledOff = new Error("called off");
  let looks = 0;
  // It is looked at before connecting and once there is a connection.
  signal.throwIfAborted = () => {
    if (++looks === 2) controller.abort(calledOff);
    AbortSignal.prototype.throwIfAborted.call(signal);
  };
  // What is left open, the sanitizer finds.
  assertEquals(await assertRejects(() => openSocket(peer, signal)), calledOff);
});

Deno.test("openSocket() leaves nothing open whenever it is called off", async () => {
  await using server = rawUpstream((connection) => connection.untilClosed());
  const address = { kind: "tcp", hostname: "127.0.0.1", port: server.port } as const;
  const peer = { address, tls: null } as unknown as Peer;
  const calledOff = new Error("called off");
  for (let i = 0; i < 200; i++) {
    const controller = new AbortController();
    const abort = () => controller.abort(calledOff);
    const timer = i % 2 === 0 ? setTimeout(abort) : undefined;
    if (timer === undefined) queueMicrotask(abort);
    const opening = openSocket(peer, controller.signal);
    await opening.then((socket) => socket.close(), (error) => assertEquals(error, calledOff));
    clearTimeout(timer);
  }
});
