/** Notices that the files of a certificate have changed. */

import type { Clock } from "../core/clock.ts";
import { resourceShortage } from "../core/resource_shortage.ts";

/** How often the files are looked at. */
const LOOK_EVERY_MS = 1000;

/** What a {@linkcode CertificateWatch} takes. */
export interface CertificateWatchOptions {
  /** Reads the files; what it throws is why they are of no use. */
  readonly read: () => readonly string[];
  /** The texts in use. */
  readonly current: readonly string[];
  readonly clock: Clock;
  /** How long between two looks. @default {a second} */
  readonly everyMs?: number;
  /** Told of new texts; the next look comes after it. What it throws is why they are of no use. */
  readonly onChange: (texts: readonly string[]) => void | Promise<void>;
  /** Told why files that have changed are of no use; once for the same reason. */
  readonly onProblem: (problem: string) => void;
}

/**
 * Reads the files once a second and compares.
 *
 * The runtime can watch files, but what renews certificates swaps symbolic links and whole folders, which a watch on
 * a file does not see. Certificate and key are two files: between the two writes they do not fit, so that nothing is said of
 * what is of no use until it has been found so twice.
 */
export class CertificateWatch implements Disposable {
  readonly #options: CertificateWatchOptions;
  #current: readonly string[];
  /** What was of no use when it was looked at last. */
  #seen: readonly string[] | null = null;
  #problem = "";
  #timer: Disposable | null = null;
  #disposed = false;

  constructor(options: CertificateWatchOptions) {
    this.#options = options;
    this.#current = options.current;
    this.#lookLater();
  }

  #lookLater(): void {
    if (this.#disposed) return;
    this.#timer = this.#options.clock.setTimer(() => {
      this.#look().finally(() => this.#lookLater());
    }, this.#options.everyMs ?? LOOK_EVERY_MS);
  }

  async #look(): Promise<void> {
    let found: readonly string[] | null = null;
    try {
      found = this.#options.read();
      if (isSame(found, this.#current)) return void (this.#problem = "");
      await this.#options.onChange(found);
      this.#current = found;
      this.#seen = null;
      this.#problem = "";
    } catch (error) {
      // Says nothing of the files.
      if (resourceShortage(error) !== null) return;
      const problem = error instanceof Error ? error.message : String(error);
      const before = this.#seen;
      this.#seen = found;
      // One of the two files may not have been written yet.
      if (found !== null && (before === null || !isSame(found, before))) return;
      if (problem === this.#problem || this.#disposed) return;
      this.#problem = problem;
      this.#options.onProblem(problem);
    }
  }

  /** Looks no more. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
  }
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.every((text, index) => text === other[index]);
}
