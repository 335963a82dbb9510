/** A server whose responses the test sends. */

import { PATIENCE_MS } from "./recorder.ts";
import { startUpstream, type Upstream } from "./start_upstream.ts";

/** An upstream that responds when the test calls {@linkcode Gate.answer}. */
export class Gate implements AsyncDisposable {
  readonly #open: ((response: Response) => void)[] = [];
  readonly #watchers = new Set<() => void>();
  #closed = false;
  readonly upstream: Upstream = startUpstream({
    handler: () =>
      new Promise((resolve) => {
        this.#open.push(resolve);
        for (const watcher of this.#watchers) watcher();
      }),
  });

  /** Number of requests that wait for a response. */
  get waiting(): number {
    return this.#open.length;
  }

  /** Resolves when this number of requests waits; rejects after a timeout. */
  async untilWaiting(count: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const watcher = () => void ((this.waiting >= count || this.#closed) && resolve());
    const limit = setTimeout(
      () => reject(new Error(`${this.waiting} of ${count} requests wait for their response`)),
      PATIENCE_MS,
    );
    this.#watchers.add(watcher);
    watcher();
    try {
      await promise;
    } finally {
      clearTimeout(limit);
      this.#watchers.delete(watcher);
    }
  }

  /** Responds to the oldest request. */
  answer(text = "ok"): void {
    this.#open.shift()!(new Response(text));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    // Rejects a wait that a test has left in a race.
    for (const watcher of this.#watchers) watcher();
    await this.upstream.close();
  }
}
