import { assertEquals } from "@std/assert";
import { LineWriter } from "../../../lib/observe/line_writer.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { MemorySink } from "../../support/memory_sink.ts";

function createWriter(options: Partial<ConstructorParameters<typeof LineWriter>[0]> = {}) {
  const sink = new MemorySink();
  const clock = new FakeClock();
  const writer = new LineWriter({ sink, clock, lossLine: (lost) => `lost ${lost}`, ...options });
  return { sink, clock, writer };
}

Deno.test("LineWriter.line() writes many lines with one write, 100 ms after the first", async () => {
  const { sink, clock, writer } = createWriter();
  for (let i = 0; i < 500; i++) {
    writer.line(`line ${i}`);
    if (i % 10 === 0) await clock.advance(1);
  }
  assertEquals(sink.writes.length, 0);
  await clock.advance(50);
  assertEquals(sink.writes.length, 1);
  assertEquals(sink.lines.length, 500);
  assertEquals(clock.pending, 0);
});

Deno.test("LineWriter.line() does not wait when there is enough", async () => {
  const { sink, clock, writer } = createWriter({ flushAtBytes: 100 });
  for (let i = 0; i < 10; i++) writer.line("0123456789".repeat(4));
  await writer.flush();
  assertEquals(sink.lines.length, 10);
  assertEquals(sink.writes.length <= 4, true);
  assertEquals(clock.pending, 0);
});

Deno.test("LineWriter keeps the order, also when a write takes only a part", async () => {
  const { sink, clock, writer } = createWriter();
  sink.maxBytes = 7;
  const lines = Array.from({ length: 20 }, (_, i) => `zeile ${i} ä`);
  for (const line of lines) {
    writer.line(line);
    await clock.advance(30);
  }
  await writer.flush();
  assertEquals(sink.writes.length > 20, true);
  assertEquals(sink.lines, lines);
});

Deno.test("LineWriter drops lines while the sink stalls, keeps memory bounded, and tells how many", async () => {
  const { sink, clock, writer } = createWriter({ flushAtBytes: 100, maxWaitingBytes: 1000 });
  sink.stall();
  for (let i = 0; i < 10_000; i++) writer.line("0123456789");
  await clock.advance(1000);
  assertEquals(sink.writes.length, 0);
  const kept = 10_000 - writer.lost;
  assertEquals(kept <= 120, true);
  sink.resume();
  await writer.flush();
  assertEquals(sink.lines.filter((line) => line === "0123456789").length, kept);
  assertEquals(sink.lines.at(-1), `lost ${writer.lost}`);
  writer.line("after");
  await writer.flush();
  assertEquals(sink.lines.slice(-2), [`lost ${writer.lost}`, "after"]);
});

Deno.test("LineWriter writes nothing more once the sink is gone", async () => {
  const { sink, clock, writer } = createWriter();
  sink.error = new Deno.errors.BrokenPipe("gone");
  writer.line("a");
  await clock.advance(100);
  sink.error = null;
  writer.line("b");
  await writer.flush();
  writer.flushSync();
  assertEquals([sink.writes, writer.lost, clock.pending], [[], 1, 0]);
});

Deno.test("LineWriter tries again when a pipe is full for the moment", async () => {
  const { sink, clock, writer } = createWriter();
  sink.error = new Deno.errors.WouldBlock("full");
  writer.line("a");
  await clock.advance(100);
  sink.error = null;
  await clock.advance(20);
  assertEquals(sink.lines, ["a"]);
});

Deno.test("LineWriter.flushSync() writes at once, but not past a write that hangs", async () => {
  const { sink, clock, writer } = createWriter();
  writer.line("a");
  writer.flushSync();
  assertEquals([sink.lines, clock.pending], [["a"], 0]);
  sink.stall();
  writer.line("b");
  await clock.advance(100);
  writer.line("c");
  writer.flushSync();
  assertEquals(sink.lines, ["a"]);
  sink.resume();
  await writer.flush();
  assertEquals(sink.lines, ["a", "b", "c"]);
});

Deno.test("LineWriter disposed writes what waits, and nothing after; twice does nothing", () => {
  const { sink, clock, writer } = createWriter();
  writer.line("a");
  writer[Symbol.dispose]();
  writer.line("b");
  writer[Symbol.dispose]();
  assertEquals([sink.lines, writer.lost, clock.pending], [["a"], 1, 0]);
});
