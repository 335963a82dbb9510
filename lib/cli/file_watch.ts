/** Notices that files have changed. */

import { dirname } from "node:path";
import { hashOf } from "../config/module_graph.ts";
import type { Clock } from "../core/clock.ts";

/** What a {@linkcode FileWatch} takes. */
interface FileWatchOptions {
  /** Paths; may change in the course of {@linkcode onChange}. */
  readonly files: ReadonlySet<string>;
  readonly clock: Clock;
  /** Told when the content of one has changed; the next look comes after it. */
  readonly onChange: () => Promise<void>;
  /** Told why the files cannot be watched any more. */
  readonly onError: (error: unknown) => void;
}

/** How long the files have to be left alone: who saves several, or one in several writes, is not met in between. */
const QUIET_MS = 100;

/**
 * Watches the folders of the files: what writes a file often puts another one in its place, which a watch of the file
 * would not see. Only another content counts.
 */
export class FileWatch implements Disposable {
  readonly #options: FileWatchOptions;
  #watcher: Deno.FsWatcher | null = null;
  #folders = "";
  #timer: Disposable | null = null;
  /** The content of each file when it was looked at last, as a hash. */
  readonly #known = new Map<string, string>();
  readonly #ready: Promise<unknown>;
  #looking = false;
  #again = false;
  /** Whether a change was noticed that nobody was told of. */
  #missed = false;
  #disposed = false;

  constructor(options: FileWatchOptions) {
    this.#options = options;
    this.#ready = this.#findChanges();
    this.#watch();
  }

  /** Looks at all files; tells whether one that was known has another content. */
  async #findChanges(): Promise<boolean> {
    let changed = false;
    for (const file of [...this.#options.files]) {
      const found = await hashOf([file]);
      const known = this.#known.get(file);
      if (known !== undefined && known !== found) changed = true;
      this.#known.set(file, found);
    }
    return changed;
  }

  #watch(): void {
    const folders = [...new Set(Array.from(this.#options.files, (file) => dirname(file)))].sort();
    if (folders.join("\0") === this.#folders) return;
    this.#folders = folders.join("\0");
    this.#watcher?.close();
    this.#watcher = null;
    if (folders.length === 0) return;
    try {
      const watcher = this.#watcher = Deno.watchFs(folders, { recursive: false });
      this.#follow(watcher).catch((error) => this.#options.onError(error));
    } catch (error) {
      this.#options.onError(error);
    }
  }

  async #follow(watcher: Deno.FsWatcher): Promise<void> {
    for await (const { kind } of watcher) if (kind !== "access") this.#lookLater();
  }

  #lookLater(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = this.#options.clock.setTimer(() => void this.#look(), QUIET_MS);
  }

  async #look(): Promise<void> {
    this.#again = this.#looking;
    if (this.#looking || this.#disposed) return;
    this.#looking = true;
    try {
      await this.#ready;
      const changed = await this.#findChanges() || this.#missed;
      this.#missed = false;
      if (!changed || this.#disposed) return;
      await this.#options.onChange();
      // Those that are new are known from now on; another one may have changed meanwhile.
      if (await this.#findChanges()) this.#again = this.#missed = true;
      if (!this.#disposed) this.#watch();
    } finally {
      this.#looking = false;
      if (this.#again && !this.#disposed) this.#lookLater();
    }
  }

  /** Looks no more. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
    this.#watcher?.close();
    this.#watcher = null;
  }
}
