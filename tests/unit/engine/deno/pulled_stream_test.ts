import { assert, assertEquals, assertRejects } from "@std/assert";
import { DeadlineWheel } from "../../../../lib/core/cancellation.ts";
import { ClientGoneError, type ProxyError, UpstreamError } from "../../../../lib/core/errors.ts";
import { PulledStream } from "../../../../lib/engine/deno/deno_content.ts";
import type { Body, Bytes } from "../../../../lib/http/message.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { latin1Bytes, latin1Text } from "../../../support/raw_connection.ts";

/** Content whose pieces come when the test sends them; each stands in the bytes of the one before. */
class SlowBody implements Body {
  readonly length = null;
  readonly ready = null;
  readonly whole = null;
  readonly trailers = [];
  readonly cancelled: unknown[] = [];
  reads = 0;
  readonly #bytes: Bytes = new Uint8Array(64);
  readonly #sent: (string | null | Error)[] = [];
  #reading: PromiseWithResolvers<Bytes | null> | null = null;

  send(...pieces: (string | null | Error)[]): this {
    this.#sent.push(...pieces);
    this.#deliver();
    return this;
  }

  read(): Promise<Bytes | null> {
    this.reads++;
    this.#reading = Promise.withResolvers();
    const { promise } = this.#reading;
    this.#deliver();
    return promise;
  }

  #deliver(): void {
    const reading = this.#reading;
    const piece = this.#sent[0];
    if (reading === null || piece === undefined) return;
    this.#sent.shift();
    this.#reading = null;
    if (piece instanceof Error) return reading.reject(piece);
    if (piece === null) return reading.resolve(null);
    this.#bytes.fill(0x21);
    this.#bytes.set(latin1Bytes(piece));
    reading.resolve(this.#bytes.subarray(0, piece.length));
  }

  cancel(reason?: unknown): void {
    this.cancelled.push(reason);
  }
}

/** Content, and what is made of it. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly wheel = new DeadlineWheel({ clock: this.clock, tickMs: 5 });
  readonly body = new SlowBody();
  readonly ends: [bytes: number, failure: ProxyError | null][] = [];
  readonly pulled = new PulledStream(this.body, {
    wheel: this.wheel,
    idleMs: 1000,
    ended: (...end) => void this.ends.push(end),
  });

  /** The content as a stream, with its first pieces. */
  async stream(...pieces: (string | null | Error)[]): Promise<ReadableStream<Bytes>> {
    this.body.send(...pieces);
    const stream = await this.pulled.gather(null);
    assert(stream instanceof ReadableStream);
    return stream;
  }

  [Symbol.dispose](): void {
    assertEquals(this.wheel.pending, 0, "deadlines were left behind");
  }
}

const BROKEN = new UpstreamError("broken", { code: "http_response_incomplete", phase: "answered" });

Deno.test("PulledStream gives small content whole, and leaves the end to whoever asked for it", async () => {
  using bench = new Bench();
  bench.body.send("ab", "cde", null);
  assertEquals(latin1Text(await bench.pulled.gather(5) as Bytes), "abcde");
  assertEquals(bench.ends, []);
});

Deno.test("PulledStream gives a stream of content that is large, or of unknown length, and asks for nothing yet", async () => {
  for (const length of [null, 128 * 1024 + 1]) {
    using bench = new Bench();
    const stream = await bench.pulled.gather(length) as ReadableStream<Bytes>;
    assertEquals(bench.body.reads, 0);
    bench.body.send("ab", "cd", null);
    // Pieces may be kept, although what they are made of is used again.
    assertEquals((await Array.fromAsync(stream)).map(latin1Text), ["ab", "cd"]);
    assertEquals(bench.ends, [[4, null]]);
  }
});

Deno.test("PulledStream gives a stream of small content that takes its time, with all of it", async () => {
  for (const early of [[], ["ab"], ["ab", "c"]]) {
    using bench = new Bench();
    bench.body.send(...early);
    const gathering = bench.pulled.gather(5);
    await bench.clock.advance(100);
    const reading = Array.fromAsync(await gathering as ReadableStream<Bytes>);
    bench.body.send("abcde".slice(early.join("").length), null);
    assertEquals((await reading).map(latin1Text).join(""), "abcde");
    assertEquals(bench.ends, [[5, null]]);
  }
});

Deno.test("PulledStream breaks off where the content does, after what came before", async () => {
  using bench = new Bench();
  const reader = (await bench.stream("ab", BROKEN)).getReader();
  assertEquals(latin1Text((await reader.read()).value!), "ab");
  assertEquals(await assertRejects(() => reader.read()), BROKEN);
  assertEquals(bench.ends, [[2, BROKEN]]);
});

Deno.test("PulledStream breaks off late where small content does, and gives nothing of it as long as it can", async () => {
  using early = new Bench();
  early.body.send("ab", BROKEN);
  assertEquals(await assertRejects(() => early.pulled.gather(5)), BROKEN);
  assertEquals(early.ends, []);
  using late = new Bench();
  late.body.send("ab");
  const gathering = late.pulled.gather(5);
  await late.clock.advance(100);
  const reader = (await gathering as ReadableStream<Bytes>).getReader();
  assertEquals(latin1Text((await reader.read()).value!), "ab");
  late.body.send(BROKEN);
  assertEquals(await assertRejects(() => reader.read()), BROKEN);
  assertEquals(late.ends, [[2, BROKEN]]);
});

Deno.test("PulledStream asks for no piece that its reader has not asked for", async () => {
  using bench = new Bench();
  const reader = (await bench.stream("ab", "cd", null)).getReader();
  await reader.read();
  await bench.clock.advance(10);
  assertEquals(bench.body.reads, 1);
  await reader.read();
  assertEquals([(await reader.read()).done, bench.body.reads], [true, 3]);
});

Deno.test("PulledStream gives the content all the time it takes, and the client a bounded one", async () => {
  using bench = new Bench();
  const reader = (await bench.stream()).getReader();
  const first = reader.read();
  await bench.clock.advance(5000);
  bench.body.send("ab");
  assertEquals(latin1Text((await first).value!), "ab");
  await bench.clock.advance(900);
  bench.body.send("cd");
  assertEquals(latin1Text((await reader.read()).value!), "cd");
  await bench.clock.advance(1100);
  const error = await assertRejects(() => reader.read(), ClientGoneError);
  assertEquals([bench.ends, bench.body.cancelled], [[[4, error]], [error]]);
});

Deno.test("PulledStream ends for a client that has never begun to take it", async () => {
  using bench = new Bench();
  await bench.stream("ab");
  await bench.clock.advance(1100);
  assertEquals([bench.ends[0]?.[0], bench.ends[0]?.[1] instanceof ClientGoneError], [0, true]);
  assertEquals([bench.body.reads, bench.body.cancelled.length], [0, 1]);
});

Deno.test("PulledStream lets go of the content once when its reader gives up, a read that is pending among it", async () => {
  for (const pending of [false, true]) {
    using bench = new Bench();
    const reader = (await bench.stream("ab")).getReader();
    await reader.read();
    const reading = pending ? reader.read() : null;
    await reader.cancel();
    await reading;
    bench.body.send(BROKEN);
    await bench.clock.advance(10);
    assertEquals(bench.ends.map(([bytes, failure]) => [bytes, failure?.status]), [[2, 499]]);
    assertEquals(bench.body.cancelled.length, 1);
  }
});
