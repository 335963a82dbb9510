/** A worker in the test process, for configurations that share variables with the test. */

import { serveAsWorker } from "../../lib/cli/run_worker.ts";
import type { ModuleTexts } from "../../lib/config/module_graph.ts";
import type { ResolvedConfig } from "../../lib/config/proxy_config.ts";
import type { ServeOptions, WorkerChild } from "../../lib/server/serve_options.ts";

/** A byte stream from one side to the other. */
class Pipe {
  #controller!: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>> = new ReadableStream({
    start: (controller) => void (this.#controller = controller),
  });
  #closed = false;

  writeSync(bytes: Uint8Array): number {
    if (!this.#closed) this.#controller.enqueue(bytes.slice());
    return bytes.length;
  }

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve(this.writeSync(bytes));
  }

  close(): void {
    if (!this.#closed) this.#controller.close();
    this.#closed = true;
  }
}

/**
 * Starts a worker without a process. Everything else is real: its supervisor, their messages, and the shared memory, which
 * it opens like a worker that was started before the memory was made.
 *
 * @param configOf returns the configuration for texts from the supervisor
 */
export function workerInProcess(
  { clock, random }: Required<Pick<ServeOptions, "clock" | "random">>,
  configOf: (texts: ModuleTexts) => ResolvedConfig,
): WorkerChild {
  const stdin = new Pipe();
  const stdout = new Pipe();
  const stderr = new Pipe();
  const load = (texts: ModuleTexts = {}) =>
    Promise.resolve({ config: configOf(texts), sources: { hash: "", remote: [] } });
  const io = { stdout, stderr, onStrayError: () => ({ [Symbol.dispose]: () => {} }), exit: () => {} };
  const running = serveAsWorker(stdin.readable, io, {
    clock,
    random,
    open: ({ source }) => ({ source, load, [Symbol.dispose]: () => {} }),
  });
  const status = running.then((code) => {
    stdout.close();
    stderr.close();
    return { code, success: code === 0, signal: null };
  });
  return {
    pid: Deno.pid,
    stdin: new WritableStream({
      write: (bytes) => void stdin.writeSync(bytes),
      close: () => stdin.close(),
    }),
    stdout: stdout.readable,
    stderr: stderr.readable,
    status,
    // A worker in this process cannot be killed: it finishes its last requests.
    kill: () => stdin.close(),
  };
}
