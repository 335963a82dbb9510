/** Detects changes of files. */

import { dirname } from "node:path";
import { hashOf, type ModuleTexts } from "../config/module_graph.ts";
import type { Clock } from "../core/clock.ts";

/** Options of {@linkcode FileWatch}. */
interface FileWatchOptions {
  /** Paths of the files; may change during {@linkcode onChange}. */
  readonly files: ReadonlySet<string>;
  /** Their contents when they were last loaded: they may have changed before the watch began. */
  readonly texts: () => ModuleTexts;
  readonly clock: Clock;
  /** Called when the content of a file has changed; the next check waits for it. */
  readonly onChange: () => Promise<void>;
  /** Called when the files cannot be watched any more. */
  readonly onError: (error: unknown) => void;
}

/** Files are checked after a pause of so long, so that a save of several files, or in several writes, is complete. */
const QUIET_MS = 100;

/** Longest delay of a check: other files of the folder, such as a log, may be written all the time. */
const LATEST_MS = 1000;

/** How often files are checked without an event: the system sends none for a replaced folder, or for most network drives. */
const POLL_MS = 2000;

/**
 * Watches the folders of the files: many programs save a file by replacing it, which a watch on the file would miss. Reports
 * only changed contents.
 */
export class FileWatch implements Disposable {
  readonly #options: FileWatchOptions;
  #watcher: Deno.FsWatcher | null = null;
  #folders = "";
  #timer: Disposable | null = null;
  #poll: Disposable | null = null;
  /** When the next check is due at the latest; `Infinity` if no event is pending. */
  #latestAt = Infinity;
  /** Hash of each file at its last check. */
  readonly #known = new Map<string, string>();
  #checking = false;
  #checkAgain = false;
  /** Whether a change was found that {@linkcode FileWatchOptions.onChange} has not received yet. */
  #unreported = false;
  #disposed = false;

  constructor(options: FileWatchOptions) {
    this.#options = options;
    this.#watch();
    void this.#check();
    this.#schedulePoll();
  }

  #schedulePoll(): void {
    this.#poll = this.#options.clock.setTimer(() => {
      // While files are being written, the check waits until they are complete.
      if (this.#latestAt === Infinity) void this.#check();
      this.#schedulePoll();
    }, POLL_MS);
  }

  /** Checks all files; returns whether one differs from its last check, or from the loaded content. */
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
      this.#readEvents(watcher).catch((error) => this.#options.onError(error));
    } catch (error) {
      this.#options.onError(error);
    }
  }

  async #readEvents(watcher: Deno.FsWatcher): Promise<void> {
    for await (const { kind } of watcher) if (kind !== "access") this.#scheduleCheck();
  }

  #scheduleCheck(): void {
    const { clock } = this.#options;
    const now = clock.now();
    this.#latestAt = Math.min(this.#latestAt, now + LATEST_MS);
    this.#timer?.[Symbol.dispose]();
    this.#timer = clock.setTimer(() => {
      this.#latestAt = Infinity;
      void this.#check();
    }, Math.max(0, Math.min(QUIET_MS, this.#latestAt - now)));
  }

  async #check(): Promise<void> {
    this.#checkAgain = this.#checking;
    if (this.#checking || this.#disposed) return;
    this.#checking = true;
    try {
      const changed = await this.#findChanges() || this.#unreported;
      this.#unreported = false;
      if (!changed || this.#disposed) return;
      await this.#options.onChange();
      // Adds new files to the known ones. A file may have changed while the configuration was loaded.
      if (await this.#findChanges()) this.#checkAgain = this.#unreported = true;
      if (!this.#disposed) this.#watch();
    } finally {
      this.#checking = false;
      if (this.#checkAgain && !this.#disposed) this.#scheduleCheck();
    }
  }

  /** Ends the watch. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#poll?.[Symbol.dispose]();
    this.#timer?.[Symbol.dispose]();
    this.#watcher?.close();
    this.#watcher = null;
  }
}
