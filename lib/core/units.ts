/** Amounts of memory and of traffic as an operator writes them. */

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

/** What a size has to look like, for error messages. */
export const BYTE_SIZE_EXPECTED = 'a size such as "64KiB", "10MB" or a number of bytes';

/** Reads a size, in whole bytes; `undefined` when the value is not one. */
export function parseByteSize(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  if (typeof value !== "string") return undefined;
  const match = SIZE.exec(value);
  if (match === null) return undefined;
  return Math.floor(Number(match[1]) * UNIT_BYTES[match[2] as string]!);
}

/** Writes bytes the way an operator would (`16777216` is `"16MiB"`); those that fill no unit stay bytes. */
export function formatByteSize(bytes: number): string {
  for (const unit of ["GiB", "MiB", "KiB"]) {
    const size = UNIT_BYTES[unit]!;
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes} bytes`;
}

// Lengths of time as an operator writes them.

/** A length of time: milliseconds as a number, or text such as `"250ms"`, `"5s"`, `"1.5m"`, `"1h"`, `"1d"`. */
export type Duration = number | string;

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/** What a duration has to look like, for error messages. */
export const DURATION_EXPECTED = 'a duration such as "250ms", "5s", "1m", "1h" or a number of milliseconds';

/**
 * Reads a duration, in milliseconds; `undefined` when the value is not one.
 *
 * Text without a unit is refused (`"5"` could mean anything), and so is anything negative.
 */
export function parseDuration(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isFinite(value) && value >= 0 ? value : undefined;
  if (typeof value !== "string") return undefined;
  const match = DURATION.exec(value);
  if (match === null) return undefined;
  return Number(match[1]) * UNIT_MS[match[2] as string]!;
}

/** Writes milliseconds the way an operator would (`1500` is `"1.5s"`). */
export function formatDuration(ms: number): string {
  for (const [unit, size] of [["h", 3_600_000], ["m", 60_000], ["s", 1000]] as const) {
    if (ms >= size && ms % (size / 10) === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}
