/** Real clients and servers of gRPC, where they are installed: `deno task grpc` does that. */

const ROOT = new URL("../../", import.meta.url);

/** Whose gRPC it is: `@grpc/grpc-js` on Node, or `grpcio` on Python. */
export type GrpcLibrary = "node" | "python";

/** Folder of the libraries: what `GRPC_PEERS` says, or where the task puts them. */
const FOLDER = Deno.env.get("GRPC_PEERS") ?? new URL("vendor/grpc", ROOT).pathname;

const COMMANDS: Readonly<Record<GrpcLibrary, { command: string; script: string; needs: string }>> = {
  node: { command: "node", script: "peer.mjs", needs: "node_modules/@grpc/grpc-js/package.json" },
  python: { command: `${FOLDER}/python/bin/python`, script: "peer.py", needs: "python/bin/python" },
};

/** The libraries that are there; tests of the others say that they are skipped. */
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

/** One process, which says what it finds as lines of JSON. */
export class GrpcPeer implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  #rest = "";

  /** @param options what the script takes, `role` among them */
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

  /** Gives it a word, for which it has something to say or to do. */
  async tell(): Promise<void> {
    await this.#stdin.write(new TextEncoder().encode("\n"));
  }

  /** Ends it without a word, as a machine goes down. */
  kill(): void {
    this.#process.kill("SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.kill();
    } catch {
      // It has ended.
    }
    await this.#stdin.close().catch(() => {});
    await this.#lines.cancel();
    await this.#process.status;
  }
}

/** A server, and where it listens. */
export async function grpcServer(
  library: GrpcLibrary,
  options: Readonly<Record<string, unknown>>,
): Promise<GrpcPeer & { address: string }> {
  const peer = new GrpcPeer(library, { role: "server", ...options });
  const { port } = await peer.line<{ port: number }>();
  return Object.assign(peer, { address: `127.0.0.1:${port}` });
}
