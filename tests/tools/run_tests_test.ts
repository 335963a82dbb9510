import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname } from "node:path";
import { findTestFiles, makeBatches, readArguments, readSummary } from "../../tools/run_tests.ts";

const RUNNER = new URL("../../tools/run_tests.ts", import.meta.url).pathname;
const CONFIG = new URL("../../deno.json", import.meta.url).pathname;

const GOOD = `
  Deno.test("is good", () => {});
  Deno.test("is good too", () => {});
  Deno.test({ name: "needs what is not there", ignore: true, fn: () => {} });`;

/** Files in a folder, which is gone in the end. */
async function folderOf(
  files: Readonly<Record<string, string>>,
): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir();
  for (const [name, text] of Object.entries(files)) {
    await Deno.mkdir(dirname(`${path}/${name}`), { recursive: true });
    await Deno.writeTextFile(`${path}/${name}`, text);
  }
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Runs the runner on files to its end. */
async function run(files: Readonly<Record<string, string>>, args: readonly string[] = []) {
  await using folder = await folderOf(files);
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", `--config=${CONFIG}`, RUNNER, ...args],
    cwd: folder.path,
    env: { NO_COLOR: "1" },
    stdin: "null",
  });
  const { code, stdout } = await command.output();
  const text = new TextDecoder().decode(stdout);
  return { code, text, last: text.trimEnd().split("\n").at(-1)!.replace(/ \(\d+s\)$/, "") };
}

async function isRunning(pid: string): Promise<boolean> {
  const state = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "gone Z");
  return !/ Z/.test(state);
}

Deno.test("run_tests tells of good files in a line each, of what they ignore, and of all in the last line", async () => {
  const { code, text, last } = await run({ "a_test.ts": GOOD, "folder/b_test.ts": GOOD, "no_tests.ts": "" });
  assertEquals([code, last], [0, "ok | 4 passed | 0 failed | 2 ignored"]);
  assertMatch(text, /^ok a_test\.ts: 2 passed, 0 failed, 1 ignored, /m);
  assertMatch(text, /^ {2}needs what is not there \.\.\. ignored/m);
});

Deno.test("run_tests prints what fails, and counts what ends too early as failed", async () => {
  const { code, text, last } = await run({
    "bad/a_test.ts": `Deno.test("is bad", () => { throw new Error("what went wrong"); });`,
    "broken/a_test.ts": "export const = 1;",
    "ends/a_test.ts": `Deno.test("ends", () => { Deno.kill(Deno.pid, "SIGKILL"); });`,
    "good/a_test.ts": GOOD,
    "lost/a_test.ts": `Deno.test("is good", () => {}); Promise.reject(new Error("never caught"));`,
  });
  assertEquals([code, last.replace(/\d+ failed/, "")], [1, "FAILED | 2 passed |  | 1 ignored"]);
  assertEquals(Number(/(\d+) failed/.exec(last)![1]), 4);
  assertMatch(text, /what went wrong/);
  assertEquals(text.match(/^FAILED \S+_test\.ts/gm)?.sort(), [
    "FAILED bad/a_test.ts",
    "FAILED broken/a_test.ts",
    "FAILED ends/a_test.ts",
    "FAILED lost/a_test.ts",
  ]);
});

Deno.test("run_tests ends a file that hangs, with all that it has started, and goes on", async () => {
  const { code, text, last } = await run({
    "a/hangs_test.ts": `
      Deno.test("hangs", async () => {
        const child = new Deno.Command("sleep", { args: ["600"] }).spawn();
        console.log("started", child.pid);
        await child.status;
      });`,
    "b/good_test.ts": GOOD,
  }, ["--timeout=10", "--jobs=1"]);
  assertEquals([code, last], [1, "FAILED | 2 passed | 1 failed | 1 ignored"]);
  assertMatch(text, /^FAILED a\/hangs_test\.ts/m);
  assertMatch(text, /not over after 10 s: ended/);
  const [, pid] = /^started (\d+)$/m.exec(text)!;
  // It ends a moment after it was told to.
  while (await isRunning(pid!));
});

Deno.test("run_tests fails where there is no test", async () => {
  assertEquals((await run({ "no_tests.ts": "" })).code, 1);
});

Deno.test("run_tests gives everything to deno test with arguments that it does not know", async () => {
  const { code, text } = await run({ "a_test.ts": GOOD }, ["--filter", "good too"]);
  assertEquals(code, 0);
  assertMatch(text, /^is good too \.\.\. ok/m);
  assertMatch(text, /1 passed \| 0 failed \| 2 filtered out/);
});

Deno.test("readArguments() takes paths, jobs and the timeout, and leaves the rest to deno test", () => {
  const exists = (path: string) => path === "tests";
  const { jobs, ...none } = readArguments([], exists);
  assert(jobs >= 2);
  assertEquals(none, { paths: ["."], timeoutMs: 300_000, flags: [] });
  assertEquals(readArguments(["tests", "--jobs=3", "--timeout=7", "--filter", "x"], exists), {
    paths: ["tests"],
    jobs: 3,
    timeoutMs: 7000,
    flags: ["--filter", "x"],
  });
});

Deno.test("findTestFiles() finds what deno test does, once each", async () => {
  await using folder = await folderOf({
    "b/x_test.ts": "",
    "a/y.test.js": "",
    "a/test.mjs": "",
    "a/test_x.ts": "",
    "a/x_test.ts.snap": "",
    "vendor/x_test.ts": "",
  });
  const found = findTestFiles([folder.path, `${folder.path}/b`]);
  assertEquals(found.map((path) => path.slice(folder.path.length)), [
    "/a/test.mjs",
    "/a/y.test.js",
    "/b/x_test.ts",
  ]);
});

Deno.test("makeBatches() puts short files of a folder together", () => {
  const file = (path: string, bytes: number) => ({ path, bytes });
  assertEquals(
    makeBatches([
      file("a/1", 3000),
      file("a/2", 5000),
      file("a/3", 1000),
      file("b/1", 10),
      file("b/2", 100_000),
      file("b/3", 10),
    ]),
    [["a/1", "a/2"], ["a/3"], ["b/1"], ["b/2"], ["b/3"]],
  );
});

Deno.test("readSummary() reads the last line of deno test, and no other", () => {
  const counts = (passed: number, failed: number, ignored: number) => ({ passed, failed, ignored });
  assertEquals(readSummary("\nok | 12 passed (3 steps) | 0 failed | 1 ignored (2s)\n\n"), counts(12, 0, 1));
  assertEquals(readSummary("FAILED | 1 passed | 2 failed (1s)\n"), counts(1, 2, 0));
  assertEquals(
    readSummary("ok | 1 passed | 0 failed (1s)\nok | 3 passed | 0 failed (1s)\n"),
    counts(3, 0, 0),
  );
  assertEquals(readSummary("a test says: ok | 1 passed | 0 failed\n"), null);
});
