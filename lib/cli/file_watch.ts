/** Notices that files have changed. */

import { dirname } from "node:path";
import { hashOf, type ModuleTexts } from "../config/module_graph.ts";
import type { Clock } from "../core/clock.ts";

/** What a {@linkcode FileWatch} takes. */
interface FileWatchOptions {
  /** Paths; may change in the course of {@linkcode onChange}. */
  readonly files: ReadonlySet<string>;
  /** What stood in them when they were loaded last: they may have changed before anybody watched them. */
  readonly texts: () => ModuleTexts;
  readonly clock: Clock;
  /** Told when the content of one has changed; the next look comes after it. */
  readonly onChange: () => Promise<void>;
  /** Told why the files cannot be watched any more. */
  readonly onError: (error: unknown) => void;
}

/** How long the files have to be left alone: who saves several, or one in several writes, is not met in between. */
const QUIET_MS = 100;

/** How often it is looked at the latest: other files of the folder, such as a log, may never be left alone. */
const LATEST_MS = 1000;

/** How often it is looked without a word of the system, which has none for a folder that was replaced as a whole, nor for most networks. */
const POLL_MS = 2000;

/**
 * Watches the folders of the files: what writes a file often puts another one in its place, which a watch of the file
 * would not see. Only another content counts.
 */
export class FileWatch implements Disposable {
  readonly #options: FileWatchOptions;
  #watcher: Deno.FsWatcher | null = null;
  #folders = "";
  #timer: Disposable | null = null;
  #poll: Disposable | null = null;
  /** When it is looked at the latest. */
  #latestAt = Infinity;
  /** The content of each file when it was looked at last, as a hash. */
  readonly #known = new Map<string, string>();
  #looking = false;
  #again = false;
  /** Whether a change was noticed that nobody was told of. */
  #missed = false;
  #disposed = false;

  constructor(options: FileWatchOptions) {
    this.#options = options;
    this.#watch();
    void this.#look();
    this.#pollLater();
  }

  #pollLater(): void {
    this.#poll = this.#options.clock.setTimer(() => {
      // Whoever writes just now is met when it has written all.
      if (this.#latestAt === Infinity) void this.#look();
      this.#pollLater();
    }, POLL_MS);
  }

  /** Looks at all files; tells whether one has another content than it was known to have, or was loaded with. */
  async #findChanges(): Promise<boolean> {
    const loaded = this.#options.texts();
    let changed = false;
    for (const file of [...this.#options.files]) {
      const texts: Record<string, string> = {};
      const found = await hashOf([file], texts);
      const known = this.#known.get(file);
      if (
        known === undefined ? loaded[file] !== undefined && loaded[file] !== texts[file] : known !== found
      ) {
        changed = true;
      }
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
    const { clock } = this.#options;
    const now = clock.now();
    this.#latestAt = Math.min(this.#latestAt, now + LATEST_MS);
    this.#timer?.[Symbol.dispose]();
    this.#timer = clock.setTimer(() => {
      this.#latestAt = Infinity;
      void this.#look();
    }, Math.max(0, Math.min(QUIET_MS, this.#latestAt - now)));
  }

  async #look(): Promise<void> {
    this.#again = this.#looking;
    if (this.#looking || this.#disposed) return;
    this.#looking = true;
    try {
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
    this.#poll?.[Symbol.dispose]();
    this.#timer?.[Symbol.dispose]();
    this.#watcher?.close();
    this.#watcher = null;
  }
}
