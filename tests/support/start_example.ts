/** A configuration of `examples/`, run by the program in a separate process. */

import { assertEquals } from "@std/assert";
import { type Ended, ProgramFolder, type RunningProgram } from "./program.ts";
import { type Answer, askAt } from "./start_proxy.ts";

/** Folder of the examples. */
export const EXAMPLES: URL = new URL("../../examples/", import.meta.url);

/** Options of {@linkcode startExample}. */
export interface ExampleOptions {
  /**
   * Values that replace those of the example, by path: `{ "upstreams.servers": ["127.0.0.1:9001"] }`. All others are
   * kept. They must be valid JSON.
   */
  set?: Readonly<Record<string, unknown>>;
  /** Files in its working folder, by name. @default {{}} */
  files?: Readonly<Record<string, string>>;
  /** Listens at the address of the example, or of `set`, instead of a free port. @default {false} */
  ownListen?: boolean;
  /** Further arguments. @default {[]} */
  args?: readonly string[];
  /** Permissions of the process. @default {["--allow-net", "--allow-read"]} */
  permissions?: readonly string[];
  /** Environment variables of the process. @default {{}} */
  env?: Readonly<Record<string, string>>;
}

/** A running example, at a free port of loopback. */
export class RunningExample implements AsyncDisposable {
  readonly #folder: ProgramFolder;
  /** Its process. */
  readonly program: RunningProgram;
  /** `127.0.0.1:port`. */
  readonly address: string;

  constructor(folder: ProgramFolder, program: RunningProgram, address: string) {
    this.#folder = folder;
    this.program = program;
    this.address = address;
  }

  /** Its working folder. */
  get folder(): string {
    return this.#folder.path;
  }

  /** The port of its listener. */
  get port(): number {
    return Number(this.address.split(":").at(-1));
  }

  /** Sends one request with `fetch`; the test must cancel content that it does not read. */
  fetch(target = "/", init: RequestInit = {}): Promise<Response> {
    return fetch(`http://${this.address}${target}`, init);
  }

  /** Sends one request on a separate connection and returns the whole response; see {@linkcode askAt}. */
  ask(request = "GET /", lines: readonly string[] = [], body: string | Uint8Array = ""): Promise<Answer> {
    return askAt(this.port, request, lines, body);
  }

  /** Stops it like an operator, and returns its output. */
  async stop(signal: "SIGTERM" | "SIGINT" = "SIGTERM"): Promise<Ended> {
    this.program.kill(signal);
    return await this.program.ended;
  }

  /** Kills it if it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
    await this.#folder[Symbol.asyncDispose]();
  }
}

/** Starts `examples/NAME.config.ts` and waits until it listens. */
export async function startExample(name: string, options: ExampleOptions = {}): Promise<RunningExample> {
  const { ownListen = false, args = [], permissions, env } = options;
  const listen = ownListen ? [] : ["--listen", "127.0.0.1:0"];
  await using stack = new AsyncDisposableStack();
  const [folder, source] = await prepare(name, options);
  stack.use(folder);
  const program = stack.use(folder.start([source, ...listen, ...args], permissions, env));
  const address = await program.address();
  stack.move();
  return new RunningExample(folder, program, address);
}

/** The output of `--check` for `examples/NAME.config.ts`; fails if it finds a problem. */
export async function checkExample(name: string, options: ExampleOptions = {}): Promise<string> {
  const { args = [], permissions, env } = options;
  const [folder, source] = await prepare(name, options);
  await using _folder = folder;
  const { code, stdout, stderr } = await folder.run([source, "--check", ...args], permissions, env);
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

/** A working folder, and the configuration to run: the example, or a copy with some other values. */
async function prepare(
  name: string,
  { set = {}, files = {} }: ExampleOptions,
): Promise<[ProgramFolder, string]> {
  const example = new URL(`${name}.config.ts`, EXAMPLES);
  // Relative paths start from the folder of the configuration.
  if (Object.keys(set).length === 0 && Object.keys(files).length === 0) {
    return [await ProgramFolder.with(files), example.pathname];
  }
  const changed = `
    import * as module from ${JSON.stringify(example.href)};
    const { default: whole, ...named } = module;
    let config = whole ?? named;
    const put = (object, [key, ...rest], value) => {
      const changed = rest.length === 0 ? value : put(object?.[key], rest, value);
      return Array.isArray(object) ? object.with(Number(key), changed) : { ...object, [key]: changed };
    };
    for (const [path, value] of Object.entries(${
    JSON.stringify(set)
  })) config = put(config, path.split("."), value);
    export default config;
  `;
  return [await ProgramFolder.with({ ...files, "changed.config.js": changed }), "changed.config.js"];
}
