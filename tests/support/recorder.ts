/** An observer that records everything, and lets a test wait for a report. */

import type { AccessEntry, Observer } from "../../lib/observe/observer.ts";
import type { ProxyEvent } from "../../lib/observe/events.ts";

/** Timeout of waits: long enough for every machine, short enough to end a test that waits in vain. */
export const PATIENCE_MS = 60_000;

/** Everything that a proxy has reported. */
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

  /** Resolves with the last entry when this number of requests has ended. */
  async untilEntries(count: number): Promise<AccessEntry> {
    await this.until(() => this.entries.length >= count);
    return this.entries[count - 1]!;
  }

  /** Resolves when the condition is true; checked after each report. Rejects after a timeout. */
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
