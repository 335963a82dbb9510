/** Moments as text, cheap enough for every request. */

/** Writes moments as RFC 3339 in UTC with milliseconds (`2026-11-23T12:00:00.123Z`). */
export class TimestampFormatter {
  #second = NaN;
  #prefix = "";

  /** @param wallTimeMs milliseconds since 1970-01-01 UTC */
  format(wallTimeMs: number): string {
    const whole = Math.floor(wallTimeMs);
    const second = Math.floor(whole / 1000);
    // Building a Date costs more than the rest of an access line, so it is done once a second.
    if (second !== this.#second) {
      this.#second = second;
      this.#prefix = new Date(second * 1000).toISOString().slice(0, 20);
    }
    const ms = whole - second * 1000;
    return this.#prefix + (ms < 10 ? "00" : ms < 100 ? "0" : "") + ms + "Z";
  }
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Writes moments as the common log format does, in UTC (`23/Nov/2026:12:00:00 +0000`). */
export class CombinedTimestamps {
  #second = NaN;
  #text = "";

  /** @param wallTimeMs milliseconds since 1970-01-01 UTC */
  format(wallTimeMs: number): string {
    const second = Math.floor(wallTimeMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      const text = new Date(second * 1000).toISOString();
      const month = MONTHS[Number(text.slice(5, 7)) - 1]!;
      this.#text = `${text.slice(8, 10)}/${month}/${text.slice(0, 4)}:${text.slice(11, 19)} +0000`;
    }
    return this.#text;
  }
}
