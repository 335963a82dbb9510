/** Sizes and durations as configured. */

/** A size: bytes as a number, or text such as `"64KiB"`, `"10MB"`, `"1GiB"`. */
export type ByteSize = number | string;

const UNIT_BYTES: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1000,
  KiB: 1024,
  MB: 1000 ** 2,
  MiB: 1024 ** 2,
  GB: 1000 ** 3,
  GiB: 1024 ** 3,
};
const SIZE = /^(\d+(?:\.\d+)?)(B|KB|KiB|MB|MiB|GB|GiB)$/;

/** Description of a size, for error messages. */
export const BYTE_SIZE_EXPECTED = 'a size such as "64KiB", "10MB" or a number of bytes';

/** Parses a size and returns whole bytes; `undefined` if the value is invalid. */
export function parseByteSize(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  if (typeof value !== "string") return undefined;
  const match = SIZE.exec(value);
  if (match === null) return undefined;
  return Math.floor(Number(match[1]) * UNIT_BYTES[match[2] as string]!);
}

/** Formats bytes as in a configuration (`16777216` is `"16MiB"`); other numbers stay in bytes. */
export function formatByteSize(bytes: number): string {
  for (const unit of ["GiB", "MiB", "KiB"]) {
    const size = UNIT_BYTES[unit]!;
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes} bytes`;
}

// Durations as configured.

/** A duration: milliseconds as a number, or text such as `"250ms"`, `"5s"`, `"1.5m"`, `"1h"`, `"1d"`. */
export type Duration = number | string;

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/** Description of a duration, for error messages. */
export const DURATION_EXPECTED = 'a duration such as "250ms", "5s", "1m", "1h" or a number of milliseconds';

/**
 * Parses a duration and returns milliseconds; `undefined` if the value is invalid.
 *
 * Text without a unit (`"5"` is ambiguous) and negative values are invalid.
 */
export function parseDuration(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isFinite(value) && value >= 0 ? value : undefined;
  if (typeof value !== "string") return undefined;
  const match = DURATION.exec(value);
  if (match === null) return undefined;
  return Number(match[1]) * UNIT_MS[match[2] as string]!;
}

/** Formats milliseconds as in a configuration (`1500` is `"1.5s"`). */
export function formatDuration(ms: number): string {
  for (const [unit, size] of [["h", 3_600_000], ["m", 60_000], ["s", 1000]] as const) {
    if (ms >= size && ms % (size / 10) === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}
