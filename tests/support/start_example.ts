/** A configuration of `examples/`, run by the program in a process of its own. */

import { assertEquals } from "@std/assert";
import { type Ended, ProgramFolder, type RunningProgram } from "./program.ts";
import { type Answer, askAt } from "./start_proxy.ts";

/** Where the examples are. */
export const EXAMPLES: URL = new URL("../../examples/", import.meta.url);

/** What {@linkcode startExample} takes. */
export interface ExampleOptions {
  /**
   * Values in place of the example's own, by their path: `{ "upstreams.servers": ["127.0.0.1:9001"] }`. Everything
   * else stays what the example says. They have to survive JSON.
   */
  set?: Readonly<Record<string, unknown>>;
  /** Files in the folder that it runs in, by their names. @default {{}} */
  files?: Readonly<Record<string, string>>;
  /** Listens where the example says, or `set`, instead of at a free port. @default {false} */
  ownListen?: boolean;
  /** Further arguments. @default {[]} */
  args?: readonly string[];
  /** Permissions of the process. @default {["--allow-net", "--allow-read"]} */
  permissions?: readonly string[];
  /** Environment variables of the process. @default {{}} */
  env?: Readonly<Record<string, string>>;
}

/** An example that runs, at a free port of loopback. */
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

  /** The folder that it runs in. */
  get folder(): string {
    return this.#folder.path;
  }

  /** The port that it listens at. */
  get port(): number {
    return Number(this.address.split(":").at(-1));
  }

  /** Sends one request by `fetch`; content that is not read has to be cancelled by the test. */
  fetch(target = "/", init: RequestInit = {}): Promise<Response> {
    return fetch(`http://${this.address}${target}`, init);
  }

  /** Sends one request on a connection of its own and takes the whole answer; see {@linkcode askAt}. */
  ask(request = "GET /", lines: readonly string[] = [], body: string | Uint8Array = ""): Promise<Answer> {
    return askAt(this.port, request, lines, body);
  }

  /** Ends it as an operator does, and gives what it has written. */
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

/** What `--check` says of `examples/NAME.config.ts`; fails where it finds a problem. */
export async function checkExample(name: string, options: ExampleOptions = {}): Promise<string> {
  const { args = [], permissions, env } = options;
  const [folder, source] = await prepare(name, options);
  await using _folder = folder;
  const { code, stdout, stderr } = await folder.run([source, "--check", ...args], permissions, env);
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

/** A folder to run in, and what to run: the example itself, or a configuration that is the example but for some values. */
async function prepare(
  name: string,
  { set = {}, files = {} }: ExampleOptions,
): Promise<[ProgramFolder, string]> {
  const example = new URL(`${name}.config.ts`, EXAMPLES);
  // Paths of files count from the folder of the configuration.
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
