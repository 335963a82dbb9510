import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { LineFile } from "../../../lib/observe/line_writer.ts";
import { FakeClock } from "../../support/fake_clock.ts";

async function withFile(
  run: (
    path: string,
    open: (maxBytes?: number, keep?: number) => LineFile,
    clock: FakeClock,
  ) => void | Promise<void>,
): Promise<(string | null)[]> {
  const folder = await Deno.makeTempDir();
  const problems: (string | null)[] = [];
  const clock = new FakeClock();
  const path = `${folder}/access.log`;
  const open = (maxBytes = Infinity, keep = 2) =>
    new LineFile({ file: { path, maxBytes, keep }, clock, onProblem: (problem) => problems.push(problem) });
  try {
    await run(path, open, clock);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  return problems;
}

const read = (path: string): string => Deno.readTextFileSync(path);

Deno.test("LineFile writes lines together, a tenth of a second after the first one", async () => {
  await withFile(async (path, open, clock) => {
    using file = open();
    file.line("one");
    file.line("two");
    assertEquals(read(path), "");
    await clock.advance(100);
    assertEquals(read(path), "one\ntwo\n");
    file.line("x".repeat(140_000));
    assertEquals(read(path).length, 8 + 140_001);
  });
});

Deno.test("LineFile goes on behind what is there, and writes what waits when it is closed", async () => {
  await withFile((path, open) => {
    Deno.writeTextFileSync(path, "before\n");
    const file = open();
    file.line("after");
    file[Symbol.dispose]();
    assertEquals(read(path), "before\nafter\n");
  });
});

Deno.test("LineFile begins a new file at its size, and keeps so many former ones", async () => {
  await withFile((path, open) => {
    using file = open(1024, 2);
    for (let i = 0; i < 50; i++) {
      file.line(String(i).padStart(100, "-"));
      file.flush();
    }
    assertEquals([...Deno.readDirSync(path.replace(/\/[^/]+$/, ""))].map(({ name }) => name).sort(), [
      "access.log",
      "access.log.1",
      "access.log.2",
    ]);
    for (const each of [path, `${path}.1`, `${path}.2`]) assert(Deno.statSync(each).size <= 1024);
    assertMatch(read(path), /49\n$/);
    // Nothing is missing between them.
    const numbers = [`${path}.2`, `${path}.1`, path].flatMap((each) => read(each).trim().split("\n")).map((
      line,
    ) => Number(line.replaceAll("-", "")));
    assertEquals(numbers, numbers.map((_, i) => 50 - numbers.length + i));
  });
});

Deno.test("LineFile opens the file anew when it was moved away", async () => {
  await withFile((path, open) => {
    using file = open();
    file.line("one");
    file.flush();
    Deno.renameSync(path, `${path}.old`);
    file.line("two");
    file.reopen();
    file.line("three");
    file.flush();
    assertEquals([read(`${path}.old`), read(path)], ["one\ntwo\n", "three\n"]);
  });
});

Deno.test("LineFile tells once that it cannot write, drops lines meanwhile, and goes on when it can", async () => {
  const problems = await withFile((path, open) => {
    using file = open();
    Deno.removeSync(path);
    Deno.mkdirSync(path);
    file.reopen();
    for (let i = 0; i < 3; i++) {
      file.line(`lost ${i}`);
      file.flush();
    }
    assertEquals(file.lost, 3);
    Deno.removeSync(path);
    file.line("kept");
    file.flush();
    assertEquals(read(path), "kept\n");
  });
  assertEquals(problems.length, 2);
  assertMatch(problems[0]!, /directory/);
  assertEquals(problems[1], null);
});

Deno.test("LineFile tells that it can write again when the file is opened anew", async () => {
  const problems = await withFile((path, open) => {
    using file = open();
    Deno.removeSync(path);
    Deno.mkdirSync(path);
    file.reopen();
    file.reopen();
    Deno.removeSync(path);
    file.reopen();
    file.line("kept");
    file.flush();
    assertEquals(read(path), "kept\n");
  });
  assertEquals(problems.map((problem) => problem === null), [false, true]);
});

Deno.test("LineFile drops what a full disk does not take", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  const problems: (string | null)[] = [];
  using file = new LineFile({
    file: { path: "/dev/full", maxBytes: Infinity, keep: 1 },
    clock: new FakeClock(),
    onProblem: (problem) => problems.push(problem),
  });
  file.line("one");
  file.line("two");
  file.flush();
  assertEquals([file.lost, problems.length], [2, 1]);
  assertMatch(problems[0]!, /space/);
  await Promise.resolve();
});

Deno.test("LineFile throws when the file cannot be opened", () => {
  const file = { path: "/nowhere/at/all.log", maxBytes: Infinity, keep: 1 };
  assertThrows(
    () => new LineFile({ file, clock: new FakeClock(), onProblem: () => {} }),
    Error,
    "Cannot log requests to /nowhere/at/all.log: No such file or directory",
  );
});
