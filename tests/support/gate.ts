/** A server whose responses a test gives. */

import { PATIENCE_MS } from "./recorder.ts";
import { startUpstream, type Upstream } from "./start_upstream.ts";

/** An upstream that answers when it is told to. */
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

  /** Requests that wait for their answer. */
  get waiting(): number {
    return this.#open.length;
  }

  /** Resolves when so many requests wait; rejects when they do not come. */
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

  /** Answers the request that came first. */
  answer(text = "ok"): void {
    this.#open.shift()!(new Response(text));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    // Of several waits that a test has had race, one may be left.
    for (const watcher of this.#watchers) watcher();
    await this.upstream.close();
  }
}
