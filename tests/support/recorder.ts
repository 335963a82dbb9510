/** An observer that keeps everything, and lets a test wait for what it expects. */

import type { AccessEntry, Observer } from "../../lib/observe/observer.ts";
import type { ProxyEvent } from "../../lib/observe/events.ts";

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

  /** Resolves when the condition holds; looked at after each report. */
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const watcher = () => {
      if (!condition()) return;
      this.#watchers.delete(watcher);
      resolve();
    };
    this.#watchers.add(watcher);
    return promise;
  }

  #changed(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}
