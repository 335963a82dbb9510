/** The program in a separate process and folder. */

import { PATIENCE_MS } from "./recorder.ts";

/** The module that is both the program and the library. */
export const MAIN: URL = new URL("../../mod.ts", import.meta.url);
const CONFIG = new URL("../../deno.json", import.meta.url);

/** Result of an ended process. */
export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** A temporary folder with files. */
export class ProgramFolder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Makes a folder with these files. */
  static async with(files: Readonly<Record<string, string>>): Promise<ProgramFolder> {
    const path = await Deno.makeTempDir();
    for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${path}/${name}`, text);
    return new ProgramFolder(path);
  }

  /**
   * Starts the program with these arguments.
   *
   * @param descriptors maximum number of open descriptors; `Infinity` for the limit of the test process
   */
  start(
    args: readonly string[],
    permissions: readonly string[] = ["--allow-net", "--allow-read"],
    env: Readonly<Record<string, string>> = {},
    descriptors = Infinity,
  ): RunningProgram {
    const line = [
      Deno.execPath(),
      "run",
      "--no-prompt",
      "--quiet",
      `--config=${CONFIG.pathname}`,
      ...permissions,
      MAIN.href,
      ...args,
    ];
    if (descriptors !== Infinity) line.unshift("sh", "-c", `ulimit -n ${descriptors}; exec "$@"`, "sh");
    const command = new Deno.Command(line[0]!, {
      args: line.slice(1),
      cwd: this.path,
      env: { NO_COLOR: "1", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
    return new RunningProgram(command.spawn());
  }

  /** Runs a module of the folder instead of the program, to its end. */
  async runModule(name: string, args: readonly string[] = ["-A"]): Promise<Ended> {
    const command = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--quiet", `--config=${CONFIG.pathname}`, ...args, `${this.path}/${name}`],
      cwd: this.path,
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
    await using program = new RunningProgram(command.spawn());
    return await program.ended;
  }

  /** Runs the program to its end. */
  async run(
    args: readonly string[],
    permissions?: readonly string[],
    env?: Readonly<Record<string, string>>,
  ): Promise<Ended> {
    await using program = this.start(args, permissions, env);
    return await program.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** A running program; killed at the end of the test. */
export class RunningProgram implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #stdout: Transcript;
  readonly #stderr: Transcript;
  /** The result, when it has ended. */
  readonly ended: Promise<Ended>;

  constructor(process: Deno.ChildProcess) {
    this.#process = process;
    this.#stdout = new Transcript(process.stdout);
    this.#stderr = new Transcript(process.stderr);
    this.ended = this.#end();
  }

  async #end(): Promise<Ended> {
    const [{ code }] = await Promise.all([this.#process.status, this.#stdout.done, this.#stderr.done]);
    return { code, stdout: this.#stdout.text, stderr: this.#stderr.text };
  }

  /** Resolves with a match in `stderr`; rejects after a timeout. */
  stderrMatch(pattern: RegExp, withinMs?: number): Promise<RegExpExecArray> {
    return this.#stderr.match(pattern, withinMs);
  }

  /** Resolves with a match in `stdout`; rejects after a timeout. */
  stdoutMatch(pattern: RegExp, withinMs?: number): Promise<RegExpExecArray> {
    return this.#stdout.match(pattern, withinMs);
  }

  /** The first listen address, when it is logged (at level `info`). */
  async address(withinMs?: number): Promise<string> {
    return (await this.stderrMatch(/Listening on ([^\s,]+)(?:, \S+)* \(process \d+\)\n/, withinMs))[1]!;
  }

  /** Process id. */
  get pid(): number {
    return this.#process.pid;
  }

  /** Sends a signal. */
  kill(signal: Deno.Signal): void {
    this.#process.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has already ended.
    }
    await this.ended;
  }
}

/** The output of a stream so far. */
class Transcript {
  text = "";
  readonly done: Promise<void>;
  readonly #waiting = new Set<() => void>();
  #ended = false;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.done = this.#read(stream);
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      this.text += text;
      for (const look of this.#waiting) look();
    }
    this.#ended = true;
    for (const look of this.#waiting) look();
  }

  match(pattern: RegExp, withinMs = PATIENCE_MS): Promise<RegExpExecArray> {
    const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
    const fail = (when: string) =>
      reject(new Error(`Expected ${pattern}${when}, received ${JSON.stringify(this.text)}`));
    const timer = setTimeout(() => fail(` within ${withinMs} ms`), withinMs);
    const look = () => {
      const match = pattern.exec(this.text);
      if (match !== null) resolve(match);
      else if (this.#ended) fail("");
    };
    this.#waiting.add(look);
    look();
    return promise.finally(() => {
      clearTimeout(timer);
      this.#waiting.delete(look);
    });
  }
}
