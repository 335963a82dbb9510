/** Errors of user functions that no caller awaits. */

// deno-lint-ignore-file no-console

/** Records the output of `console.error` until it is disposed. */
export class StrayErrors implements Disposable {
  readonly lines: string[] = [];
  readonly #before = console.error;

  constructor() {
    console.error = (line: unknown) => void this.lines.push(String(line));
  }

  [Symbol.dispose](): void {
    console.error = this.#before;
  }
}

/** Unhandled rejections, each of which would end a program. */
export class StrayRejections implements Disposable {
  readonly reasons: unknown[] = [];
  readonly #listener = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    this.reasons.push(event.reason);
  };

  constructor() {
    globalThis.addEventListener("unhandledrejection", this.#listener);
  }

  [Symbol.dispose](): void {
    globalThis.removeEventListener("unhandledrejection", this.#listener);
  }
}
