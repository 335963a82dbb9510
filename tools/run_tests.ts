// deno-lint-ignore-file no-console -- a program, its messages are its output
/**
 * Runs test files in parallel, in separate processes: they share no memory, descriptors, signals or environment, and a file
 * that hangs is ended alone and reported.
 *
 * Arguments are files, folders, `--jobs=N`, and `--timeout=SECONDS` for each process. With any other argument, runs plain
 * `deno test`. Prints the whole output of failures; the last line is that of `deno test`, for all files together.
 */

import { join } from "node:path";

/** Numbers of tests by result. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly ignored: number;
}

/** The result of one process. */
interface Outcome {
  readonly files: readonly string[];
  /** `null` if the process ended before its summary. */
  readonly counts: Counts | null;
  /** Whether every test passed, and nothing else failed. */
  readonly ok: boolean;
  readonly ms: number;
  /** Its output. */
  readonly text: string;
}

/** The parsed command line. */
export interface RunOptions {
  readonly paths: readonly string[];
  readonly jobs: number;
  readonly timeoutMs: number;
  /** Flags for `deno test`. */
  readonly flags: readonly string[];
}

/** A larger file runs alone; smaller files run together up to this size. */
const BATCH_BYTES = 8 * 1024;
const TIMEOUT_SECONDS = 300;
/** Names that `deno test` treats as test files. */
const TEST_FILE = /(^|[._])test\.(ts|tsx|mts|js|jsx|mjs)$/;
const NOT_SEARCHED = new Set(["vendor", "node_modules", "coverage", ".git"]);

/** Parses the command line. */
export function readArguments(args: readonly string[], exists: (path: string) => boolean): RunOptions {
  const paths: string[] = [];
  const flags: string[] = [];
  // One more than the number of cores: many tests wait for a deadline or for the end of a process.
  let jobs = navigator.hardwareConcurrency + 1;
  let timeoutMs = TIMEOUT_SECONDS * 1000;
  for (const arg of args) {
    const [, name, value] = /^--(jobs|timeout)=(\d+)$/.exec(arg) ?? [];
    if (name === "jobs") jobs = Math.max(1, Number(value));
    else if (name === "timeout") timeoutMs = Number(value) * 1000;
    else if (!arg.startsWith("-") && exists(arg)) paths.push(arg);
    else flags.push(arg);
  }
  return { paths: paths.length === 0 ? ["."] : paths, jobs, timeoutMs, flags };
}

/** All test files at these paths, in an order that does not depend on the file system. */
export function findTestFiles(paths: readonly string[]): string[] {
  const found = new Set<string>();
  const visit = (path: string): void => {
    if (!Deno.statSync(path).isDirectory) return void found.add(path);
    for (const { name, isDirectory } of Deno.readDirSync(path)) {
      if (isDirectory && !NOT_SEARCHED.has(name)) visit(join(path, name));
      else if (!isDirectory && TEST_FILE.test(name)) found.add(join(path, name));
    }
  };
  paths.forEach(visit);
  return [...found].sort();
}

/** Groups small files of a folder; large ones stay alone. */
export function makeBatches(files: readonly { path: string; bytes: number }[]): string[][] {
  const batches: string[][] = [];
  let open: { folder: string; bytes: number; paths: string[] } | null = null;
  for (const { path, bytes } of files) {
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    if (open !== null && open.folder === folder && open.bytes + bytes <= BATCH_BYTES) {
      open.paths.push(path);
      open.bytes += bytes;
    } else {
      open = { folder, bytes, paths: [path] };
      batches.push(open.paths);
    }
  }
  return batches;
}

/** Reads the numbers of passed, failed and ignored tests from the last line of `deno test`; `null` if there is none. */
export function readSummary(text: string): Counts | null {
  const lines = text.match(/^(?:ok|FAILED) \| \d+ passed.*$/gm);
  const last = lines?.at(-1);
  if (last === undefined) return null;
  const count = (what: string): number => Number(new RegExp(`(\\d+) ${what}`).exec(last)?.[1] ?? 0);
  return { passed: count("passed"), failed: count("failed"), ignored: count("ignored") };
}

/** Running processes, to be ended together with their child processes. */
const running = new Set<Deno.ChildProcess>();

async function runBatch(
  files: readonly string[],
  timeoutMs: number,
  flags: readonly string[],
): Promise<Outcome> {
  const began = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", ...flags, ...files],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    detached: true,
  }).spawn();
  running.add(child);
  let hangs = false;
  const timer = setTimeout(() => {
    hangs = true;
    endGroup(child);
  }, timeoutMs);
  const [stdout, stderr, { success }] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.status,
  ]);
  clearTimeout(timer);
  running.delete(child);
  const counts = readSummary(stdout);
  const note = hangs ? `\nnot over after ${timeoutMs / 1000} s: ended\n` : "";
  return {
    files,
    counts,
    ok: success && counts !== null && !hangs,
    ms: performance.now() - began,
    text: stdout + stderr + note,
  };
}

function endGroup(child: Deno.ChildProcess): void {
  try {
    Deno.kill(-child.pid, "SIGKILL");
  } catch {
    // It has ended already.
  }
}

function report({ files, counts, ok, ms, text }: Outcome): void {
  const seconds = (ms / 1000).toFixed(1);
  const { passed = 0, failed = 0, ignored = 0 } = counts ?? {};
  console.log(
    `${ok ? "ok" : "FAILED"} ${
      files.join(" ")
    }: ${passed} passed, ${failed} failed, ${ignored} ignored, ${seconds} s`,
  );
  if (!ok) return console.log(text);
  for (const line of text.match(/^.* \.\.\. ignored .*$/gm) ?? []) console.log(`  ${line}`);
}

/** Runs all files, with the flags for each process; returns whether every test passed. */
export async function runAll({ paths, jobs, timeoutMs, flags }: RunOptions): Promise<boolean> {
  const began = performance.now();
  const files = findTestFiles(paths).map((path) => ({ path, bytes: Deno.statSync(path).size }));
  const waiting = makeBatches(files);
  const outcomes: Outcome[] = [];
  const work = async () => {
    for (let batch = waiting.shift(); batch !== undefined; batch = waiting.shift()) {
      const outcome = await runBatch(batch, timeoutMs, flags);
      outcomes.push(outcome);
      report(outcome);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  const sum = (what: keyof Counts) =>
    outcomes.reduce((total, { counts }) => total + (counts?.[what] ?? 0), 0);
  const bad = outcomes.filter(({ ok }) => !ok);
  if (bad.length > 0) console.log(`\nFailed:\n${bad.map(({ files }) => `  ${files.join(" ")}`).join("\n")}`);
  // A file that ended early must not look passed in the last line.
  const lost = bad.filter(({ counts }) => counts === null || counts.failed === 0).length;
  const seconds = Math.round((performance.now() - began) / 1000);
  console.log(
    `\n${bad.length === 0 ? "ok" : "FAILED"} | ${sum("passed")} passed | ${sum("failed") + lost} failed | ` +
      `${sum("ignored")} ignored (${seconds}s)`,
  );
  return bad.length === 0 && outcomes.length > 0;
}

async function main(): Promise<number> {
  const options = readArguments(Deno.args, (path) => {
    try {
      Deno.statSync(path);
      return true;
    } catch {
      return false;
    }
  });
  if (options.flags.length > 0) {
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--no-check", ...Deno.args],
    })
      .spawn().status;
    return code;
  }
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => {
      for (const child of running) endGroup(child);
      Deno.exit(1);
    });
  }
  return await runAll(options) ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main());
