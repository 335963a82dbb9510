import { assert, assertEquals, assertRejects } from "@std/assert";
import { DeadlineWheel } from "../../../../lib/core/cancellation.ts";
import { ClientGoneError, RequestError } from "../../../../lib/core/errors.ts";
import { ContentBuffers, DenoContent } from "../../../../lib/engine/deno/deno_content.ts";
import type { Bytes } from "../../../../lib/http/message.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { latin1Bytes, latin1Text } from "../../../support/raw_connection.ts";

type Kind = "bytes" | undefined;

/** The content of a request, and the client that sends it. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly wheel = new DeadlineWheel({ clock: this.clock, tickMs: 5 });
  readonly buffers = new ContentBuffers();
  readonly content: DenoContent;
  ends = 0;
  cancels = 0;
  readonly #cancelled = Promise.withResolvers<void>();
  #controller!: ReadableStreamDefaultController<Bytes> | ReadableByteStreamController;

  constructor(length: number | null, type: Kind = undefined) {
    const source = {
      start: (controller: ReadableStreamDefaultController<Bytes> | ReadableByteStreamController) => {
        this.#controller = controller;
      },
      cancel: () => {
        this.cancels++;
        this.#cancelled.resolve();
      },
    };
    const body = type === undefined
      ? new ReadableStream<Bytes>(source, { highWaterMark: 0 })
      : new ReadableStream({ ...source, type });
    const request = new Request("http://h/", { method: "POST", body });
    this.content = new DenoContent(request, {
      length,
      wheel: this.wheel,
      idleMs: 1000,
      buffers: this.buffers,
      onEnd: () => void this.ends++,
    });
  }

  send(...pieces: string[]): void {
    for (const piece of pieces) this.#controller.enqueue(latin1Bytes(piece));
  }

  end(): void {
    this.#controller.close();
    if (this.#controller instanceof ReadableByteStreamController) this.#controller.byobRequest?.respond(0);
  }

  fail(error: Error): void {
    this.#controller.error(error);
  }

  untilCancelled(): Promise<void> {
    return this.#cancelled.promise;
  }

  async readAll(): Promise<string> {
    let text = "";
    for (let piece = await this.content.read(); piece !== null; piece = await this.content.read()) {
      text += latin1Text(piece);
    }
    return text;
  }

  [Symbol.dispose](): void {
    assertEquals(this.wheel.pending, 0, "deadlines were left behind");
  }
}

const LARGE = "x".repeat(40_000);

Deno.test("DenoContent reads all of the content, and tells the end once", async () => {
  const cases: [number | null, Kind, string[]][] = [
    [5, undefined, ["ab", "cde"]],
    [120_000, undefined, [LARGE, LARGE, LARGE]],
    [null, undefined, ["ab", "cde"]],
    [null, "bytes", ["ab", "cde"]],
    [null, "bytes", ["a", LARGE, LARGE, "b", LARGE]],
    [null, "bytes", []],
  ];
  for (const [length, type, pieces] of cases) {
    using bench = new Bench(length, type);
    assertEquals([bench.content.length, bench.content.ended], [length, false]);
    const reading = bench.readAll();
    bench.send(...pieces);
    bench.end();
    assertEquals(await reading, pieces.join(""));
    assertEquals([bench.ends, bench.content.ended, await bench.content.read()], [1, true, null]);
    bench.content.cancel();
    assertEquals(bench.cancels, 0);
  }
});

Deno.test("DenoContent without bytes is at hand, and has ended", async () => {
  using bench = new Bench(0);
  assertEquals([bench.content.ended, bench.content.whole?.length, bench.content.ready?.length], [true, 0, 0]);
  assertEquals(await bench.content.read(), null);
});

Deno.test("DenoContent fails with 408 when the client pauses for too long, and lets its content go", async () => {
  const cases: [number | null, Kind][] = [[5, undefined], [100_000, undefined], [null, undefined], [
    null,
    "bytes",
  ]];
  for (const [length, type] of cases) {
    using bench = new Bench(length, type);
    bench.send("ab");
    await bench.content.read();
    const reading = assertRejects(() => bench.content.read(), RequestError);
    await bench.clock.advance(1100);
    const error = await reading;
    // The runtime's read goes on until the response ends.
    assertEquals([error.status, bench.cancels, bench.content.ended], [408, 0, true]);
    assertEquals(await assertRejects(() => bench.content.read()), error);
    bench.content.release();
    assertEquals(bench.cancels, 0);
    bench.send("cd");
    await bench.untilCancelled();
  }
});

Deno.test("DenoContent does not count the time in which nobody wants to read", async () => {
  using bench = new Bench(null);
  bench.send("a");
  assertEquals(latin1Text((await bench.content.read())!), "a");
  await bench.clock.advance(5000);
  const reading = bench.content.read();
  await bench.clock.advance(900);
  bench.send("b");
  assertEquals(latin1Text((await reading)!), "b");
  await bench.clock.advance(900);
  bench.content.cancel();
});

Deno.test("DenoContent that ends before its declared length is one that broke off", async () => {
  for (const length of [5, 100_000]) {
    using bench = new Bench(length);
    bench.send("ab");
    bench.end();
    const error = await assertRejects(() => bench.readAll(), ClientGoneError, `2 of ${length} bytes`);
    assertEquals([bench.ends, await assertRejects(() => bench.content.read())], [0, error]);
  }
});

Deno.test("DenoContent has ended once all bytes have come, whatever the runtime makes of the end", async () => {
  using bench = new Bench(100_000);
  bench.send("x".repeat(100_000));
  assertEquals([(await bench.content.read())?.length, bench.ends, bench.content.ended], [100_000, 1, true]);
  bench.fail(new TypeError("connection closed"));
  assertEquals([await bench.content.read(), bench.ends], [null, 1]);
});

Deno.test("DenoContent tells a client that is wrong from one that has gone", async () => {
  const cases: [message: string, status: number][] = [
    ["invalid HTTP/1 request: bad chunk", 400],
    ["request head too large", 431],
    ["connection reset by peer", 499],
  ];
  for (const [message, status] of cases) {
    using bench = new Bench(null);
    bench.fail(new TypeError(message));
    const error = await assertRejects(() => bench.content.read());
    assert(error instanceof RequestError || error instanceof ClientGoneError);
    assertEquals([error.status, bench.content.ended], [status, true]);
  }
});

Deno.test("DenoContent.release() lets go of the rest once, and leaves what nobody has read to the runtime", async () => {
  for (const reads of [0, 1]) {
    using bench = new Bench(null);
    bench.send("ab");
    for (let i = 0; i < reads; i++) await bench.content.read();
    bench.content.cancel();
    assertEquals([bench.cancels, bench.content.ended, await bench.content.read()], [0, true, null]);
    for (let twice = 0; twice < 2; twice++) bench.content.release();
    assertEquals(bench.cancels, reads);
  }
});

Deno.test("DenoContent.release() fails a read that waits, so that nobody takes what has come for all", async () => {
  for (const length of [5, null]) {
    using bench = new Bench(length);
    bench.send("ab");
    await bench.content.read();
    const reading = assertRejects(() => bench.content.read(), ClientGoneError);
    bench.content.release();
    await reading;
    // The runtime never ends a read that is cancelled, and keeps its buffer.
    assertEquals([bench.cancels, bench.ends], [0, 0]);
    bench.send("cd");
    await bench.untilCancelled();
    assertEquals([bench.cancels, bench.ends], [1, 0]);
  }
});

Deno.test("DenoContent.releaseBeforeEnd() waits for a read that waits, however it ends, and for nothing else", async () => {
  const ends: ((bench: Bench) => void)[] = [
    (bench) => bench.send("cd"),
    (bench) => bench.fail(new TypeError("connection closed")),
  ];
  for (const end of ends) {
    using bench = new Bench(100_000);
    bench.send("ab");
    await bench.content.read();
    const reading = bench.content.read().catch(() => {});
    const free = bench.content.releaseBeforeEnd(true);
    assertEquals([free === null, bench.cancels], [false, 0]);
    end(bench);
    await Promise.all([free, reading]);
    bench.content.release();
  }
  using bench = new Bench(100_000);
  bench.send("ab");
  await bench.content.read();
  assertEquals([bench.content.releaseBeforeEnd(true), bench.cancels], [null, 1]);
});

Deno.test("DenoContent.releaseBeforeEnd() waits no longer than a moment where nothing is cut off", async () => {
  using bench = new Bench(100_000);
  bench.send("ab");
  await bench.content.read();
  const reading = assertRejects(() => bench.content.read(), ClientGoneError);
  const free = bench.content.releaseBeforeEnd(false);
  assertEquals(bench.cancels, 0);
  await reading;
  await bench.clock.advance(300);
  await free;
  assertEquals(bench.cancels, 1);
});

Deno.test("DenoContent reads into buffers that others have used, and gives back what nobody looks at any more", async () => {
  using bench = new Bench(null, "bytes");
  const first = bench.buffers.take();
  const { length } = first;
  bench.buffers.give(first);
  bench.buffers.give(new Uint8Array(7));
  const reading = bench.readAll();
  bench.send("ab", "cde");
  bench.end();
  assertEquals(await reading, "abcde");
  // The runtime hands the memory on in other objects.
  const next = bench.buffers.take();
  assertEquals([next.length, latin1Text(next.subarray(0, 3))], [length, "cde"]);
  assertEquals(latin1Text(bench.buffers.take().subarray(0, 1)), "\0");
});
