/** Real gRPC clients and servers, if installed by `deno task grpc`. */

const ROOT = new URL("../../", import.meta.url);

/** The gRPC library: `@grpc/grpc-js` on Node, or `grpcio` on Python. */
export type GrpcLibrary = "node" | "python";

/** Folder of the libraries: `GRPC_PEERS`, or the folder of the task. */
const FOLDER = Deno.env.get("GRPC_PEERS") ?? new URL("vendor/grpc", ROOT).pathname;

const COMMANDS: Readonly<Record<GrpcLibrary, { command: string; script: string; needs: string }>> = {
  node: { command: "node", script: "peer.mjs", needs: "node_modules/@grpc/grpc-js/package.json" },
  python: { command: `${FOLDER}/python/bin/python`, script: "peer.py", needs: "python/bin/python" },
};

/** Installed libraries; tests of the others are skipped and say so. */
export const GRPC_LIBRARIES: ReadonlySet<GrpcLibrary> = new Set(
  (["node", "python"] as const).filter((library) => exists(`${FOLDER}/${COMMANDS[library].needs}`)),
);

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** A process that prints its results as lines of JSON. */
export class GrpcPeer implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  #rest = "";

  /** @param options options of the script, including `role` */
  constructor(library: GrpcLibrary, options: Readonly<Record<string, unknown>>) {
    const { command, script } = COMMANDS[library];
    const path = new URL(`./grpc/${script}`, import.meta.url).pathname;
    this.#process = new Deno.Command(command, {
      args: [path, JSON.stringify({ modules: FOLDER, ...options })],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#lines = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#stdin = this.#process.stdin.getWriter();
  }

  /** The next line. */
  async line<T>(): Promise<T> {
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        return JSON.parse(line);
      }
      const { value, done } = await this.#lines.read();
      if (done) throw new Error(`The gRPC peer has ended, after ${JSON.stringify(this.#rest)}`);
      this.#rest += value;
    }
  }

  /** Sends an empty line, for which the process prints or does something. */
  async tell(): Promise<void> {
    await this.#stdin.write(new TextEncoder().encode("\n"));
  }

  /** Kills it without closing connections, like a crashed machine. */
  kill(): void {
    this.#process.kill("SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.kill();
    } catch {
      // It has already ended.
    }
    await this.#stdin.close().catch(() => {});
    await this.#lines.cancel();
    await this.#process.status;
  }
}

/** Starts a server and returns its address. */
export async function grpcServer(
  library: GrpcLibrary,
  options: Readonly<Record<string, unknown>>,
): Promise<GrpcPeer & { address: string }> {
  const peer = new GrpcPeer(library, { role: "server", ...options });
  const { port } = await peer.line<{ port: number }>();
  return Object.assign(peer, { address: `127.0.0.1:${port}` });
}
