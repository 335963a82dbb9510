/** A server whose responses a test gives. */

import { startUpstream, type Upstream } from "./start_upstream.ts";

/** An upstream that answers when it is told to. */
export class Gate implements AsyncDisposable {
  readonly #open: ((response: Response) => void)[] = [];
  readonly #watchers = new Set<() => void>();
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

  async untilWaiting(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const watcher = () => void (this.waiting >= count && resolve());
    this.#watchers.add(watcher);
    watcher();
    await promise;
    this.#watchers.delete(watcher);
  }

  /** Answers the request that came first. */
  answer(text = "ok"): void {
    this.#open.shift()!(new Response(text));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.upstream.close();
  }
}
