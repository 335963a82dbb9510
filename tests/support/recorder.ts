/** An observer that keeps everything, and lets a test wait for what it expects. */

import type { AccessEntry, Observer } from "../../lib/observe/observer.ts";
import type { ProxyEvent } from "../../lib/observe/events.ts";

/** Long enough for every machine, short enough to end a test that waits for what never comes. */
export const PATIENCE_MS = 60_000;

/** What a proxy has reported so far. */
export class Recorder implements Observer {
  readonly wantsAccess = true;
  readonly events: ProxyEvent[] = [];
  readonly entries: AccessEntry[] = [];
  readonly #watchers = new Set<() => void>();

  event(event: ProxyEvent): void {
    this.events.push(event);
    this.#changed();
  }

  access(entry: AccessEntry): void {
    this.entries.push(entry);
    this.#changed();
  }

  /** Events of one kind. */
  eventsOf<Kind extends ProxyEvent["kind"]>(kind: Kind): Extract<ProxyEvent, { kind: Kind }>[] {
    return this.events.filter((event) => event.kind === kind) as Extract<ProxyEvent, { kind: Kind }>[];
  }

  /** Resolves when so many requests are over, with the last of them. */
  async untilEntries(count: number): Promise<AccessEntry> {
    await this.until(() => this.entries.length >= count);
    return this.entries[count - 1]!;
  }

  /** Resolves when the condition holds; looked at after each report. Rejects when it does not come to that. */
  async until(condition: () => boolean, withinMs = PATIENCE_MS): Promise<void> {
    if (condition()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const watcher = () => condition() && resolve();
    const limit = setTimeout(() => {
      const seen = this.events.map(({ kind }) => kind).join(", ");
      reject(new Error(`Waited for ${condition}; seen: ${this.entries.length} entries, events: ${seen}`));
    }, withinMs);
    this.#watchers.add(watcher);
    try {
      await promise;
    } finally {
      clearTimeout(limit);
      this.#watchers.delete(watcher);
    }
  }

  #changed(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}
